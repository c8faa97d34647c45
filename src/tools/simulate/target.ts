/**
 * The proxy to simulate against: quickstart's demo, or the one that the caller's configuration
 * describes.
 */
// SPDX-License-Identifier: Apache-2.0
import { access } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { openAdministration } from '../../app/administration.ts'
import type { Config, KeyStoreConfig } from '../../config/config.ts'
import { loadConfig } from '../../config/load.ts'
import { systemClock } from '../../core/clock.ts'
import { pause } from '../../core/deadline.ts'
import type { Scope } from '../../core/scope.ts'
import type { Secret } from '../../core/secret.ts'
import { createKmsSideClient } from '../../kms/client/client.ts'
import {
  type Context,
  UsageError,
  configPath,
  findKeyStore,
  stringFlag,
} from '../../terminal/command.ts'
import { parseConsoleFile, readPrivateFile } from '../../terminal/files.ts'
import { API_ROOT } from '../../xks/route.ts'

export interface Target {
  readonly config: Config
  /** File with the token for the demo's console. Absent for the caller's own server. */
  readonly tokenFile?: string
  readonly keyStore: KeyStoreConfig
  readonly xksKeyId: string
  /** Region for which KMS signs its requests. */
  readonly region: string
  /** Host name in certificates and signatures. */
  readonly host: string
  readonly connectTo: { readonly host: string; readonly port: number }
  readonly caFile?: string
  readonly credential: { readonly accessKeyId: string; readonly secretAccessKey: Secret }
  /** Scope that the scenario kills. */
  readonly scope: Scope
  /** Removes what was created for the scenario. */
  release(): Promise<void>
}

/** Lifetime of the scenario's credential, which expires even if it is not revoked. */
const CREDENTIAL_LIFE_MS = 3_600_000

/** @throws UsageError, ConfigError, StorageError */
export async function findTarget(context: Context): Promise<Target> {
  const folder = await findDemo(context)
  return folder === undefined ? ownTarget(context) : demoTarget(context, folder)
}

/**
 * Returns the folder that --demo names, or quickstart's folder if it exists and there is no
 * configuration; otherwise undefined.
 */
async function findDemo(context: Context): Promise<string | undefined> {
  const named = stringFlag(context, 'demo')
  if (named !== undefined) return resolve(named)
  const hasConfig =
    stringFlag(context, 'config') !== undefined ||
    context.environment['LATCHKEY_CONFIG'] !== undefined ||
    (await exists('latchkey.yaml'))
  return !hasConfig && (await exists('demo/latchkey.yaml')) ? resolve('demo') : undefined
}

async function demoTarget(context: Context, folder: string): Promise<Target> {
  const config = await loadConfig(join(folder, 'latchkey.yaml'), context.environment)
  const keyStore = findKeyStore(context, config)
  const file = await readPrivateFile(join(folder, 'kms-console.json'))
  return {
    config,
    tokenFile: join(folder, 'console.token'),
    keyStore,
    xksKeyId: stringFlag(context, 'key-id') ?? 'demo-key',
    region: regionOf(context, keyStore),
    ...toAddress(context, config, join(folder, 'pki/ca.crt')),
    credential: parseConsoleFile(file.toString('utf8')),
    scope: { kind: 'key-store', keyStore: keyStore.name },
    release: () => Promise.resolve(),
  }
}

/**
 * Uses the key that the caller named, with a credential for this run. The scenario kills access to
 * no other key.
 */
async function ownTarget(context: Context): Promise<Target> {
  const config = await loadConfig(configPath(context), context.environment)
  const keyStore = findKeyStore(context, config)
  const xksKeyId = stringFlag(context, 'key-id')
  if (xksKeyId === undefined) {
    throw new UsageError(
      'USAGE',
      '--key-id is missing: name a key that may be killed temporarily',
      {
        hint: 'run latchkey keys create simulation, and then pass --key-id simulation',
      },
    )
  }
  const administration = await openAdministration(config)
  const expiresAt = systemClock.now() + CREDENTIAL_LIFE_MS
  const credential = await administration.credentials.create(keyStore.name, { expiresAt })
  const address = toAddress(context, config, stringFlag(context, 'ca'))
  const region = regionOf(context, keyStore)
  await untilKnown(address, keyStore, { ...credential, region })
  return {
    config,
    keyStore,
    xksKeyId,
    region,
    ...address,
    credential,
    scope: { kind: 'key', keyStore: keyStore.name, keyId: xksKeyId },
    async release() {
      await administration.credentials.revoke(credential.accessKeyId)
      await administration.close()
    },
  }
}

/** Chooses a region that the key store accepts. */
function regionOf(context: Context, { regions }: KeyStoreConfig): string {
  return stringFlag(context, 'region') ?? regions?.[0] ?? 'us-east-1'
}

const KNOWN_WITHIN_MS = 10_000
const PAUSE_MS = 50

/**
 * Waits until the server has learned the new credential, which happens at its next poll. If the
 * server does not respond, the scenario reports it.
 */
async function untilKnown(
  { host, connectTo, caFile }: ReturnType<typeof toAddress>,
  keyStore: KeyStoreConfig,
  credential: Target['credential'] & { readonly region: string },
): Promise<void> {
  const client = createKmsSideClient({
    isProbe: true,
    endpoint: `https://${host}`,
    connectTo,
    uriPath: `${keyStore.prefix}${API_ROOT}`,
    ...credential,
    ...(caFile === undefined ? {} : { caFile }),
  })
  const until = systemClock.monotonic() + KNOWN_WITHIN_MS
  const isUnknown = () =>
    client.getHealthStatus().then(
      ({ status }) => status === 401,
      () => false,
    )
  while ((await isUnknown()) && systemClock.monotonic() < until) {
    await pause(PAUSE_MS)
  }
  await client.close()
}

function toAddress(context: Context, config: Config, caFile: string | undefined) {
  const text = stringFlag(context, 'endpoint')
  const url = text !== undefined && URL.canParse(text) ? new URL(text) : undefined
  if (text !== undefined && url?.protocol !== 'https:') {
    throw new UsageError('USAGE', '--endpoint: expected https://host:port')
  }
  const host = url?.hostname ?? 'localhost'
  const port = url === undefined ? config.listener.port : Number(url.port === '' ? 443 : url.port)
  return { host, connectTo: { host, port }, ...(caFile === undefined ? {} : { caFile }) }
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
