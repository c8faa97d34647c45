/** The steps of a registration. Each step continues from the state that an earlier run left. */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import type { CustomKeyStoresListEntry } from '@aws-sdk/client-kms'
import type { Administration } from '../../app/administration.ts'
import type { KeyStoreConfig } from '../../config/config.ts'
import { systemClock } from '../../core/clock.ts'
import { equalBytes } from '../../core/constant-time.ts'
import { pause } from '../../core/deadline.ts'
import { type Context, UsageError, stringFlag } from '../../terminal/command.ts'
import { parseConsoleFile, readPrivateFile } from '../../terminal/files.ts'
import { hostFlag } from '../../terminal/flags/kms.ts'
import { builtInAuthorities, loadAuthorities } from '../doctor/authorities.ts'
import { RegistrationError } from './explanations.ts'
import {
  type KmsApi,
  KmsError,
  type KmsKeySummary,
  type NewStore,
  type ProxyCredential,
  isException,
} from './kms-api.ts'
import type { Plan } from './plan.ts'
import { checkEndpoint, ignoreChecks, reportFindings } from './preflight.ts'

export interface Job {
  readonly context: Context
  readonly plan: Plan
  readonly kms: KmsApi
  readonly administration: Administration
  readonly keyStore: KeyStoreConfig
}

/** Continues from the state that an earlier run left. @returns the id of the custom key store */
export async function findOrCreateStore(job: Job): Promise<string> {
  const { context, plan, kms } = job
  const found = await kms.findStore(plan.store.name)
  if (found === undefined) return create(job)
  const accessKeyId = checkSame(found, plan.store)
  await checkThroughEndpoint(job, await loadCredential(job, accessKeyId))
  const id = found.CustomKeyStoreId ?? ''
  context.output.line(done('CreateCustomKeyStore', `${id} already exists`))
  return id
}

/** Returns the credential that KMS uses, if this control store also has it. */
async function loadCredential({ administration, keyStore }: Job, accessKeyId: string) {
  const known = (await administration.credentials.loadActive()).find(
    (one) => one.keyStore === keyStore.name && one.accessKeyId === accessKeyId,
  )
  if (known === undefined) {
    throw new RegistrationError(
      'CREDENTIAL_STALE',
      `KMS signs with ${accessKeyId}, which is not an active credential of key store ${keyStore.name}`,
      { hint: 'run latchkey rotate-credentials to give KMS a new credential' },
    )
  }
  return known
}

async function create(job: Job): Promise<string> {
  const { context, plan, kms, administration, keyStore } = job
  const file = stringFlag(context, 'credential')
  const credential: ProxyCredential =
    file === undefined
      ? await administration.credentials.create(keyStore.name)
      : await fromFile(job, file)
  try {
    await checkThroughEndpoint(job, credential)
    const id = await kms.createStore(plan.store, credential)
    context.output.line(done('CreateCustomKeyStore', id))
    return id
  } catch (error) {
    if (file === undefined && !(await mayBeThere(kms, plan.store.name, error))) {
      await administration.credentials.revoke(credential.accessKeyId)
    }
    throw error
  }
}

/**
 * Reports whether KMS may have accepted the credential. Returns true if KMS cannot be reached, so
 * that the credential is kept for the next run.
 */
async function mayBeThere(kms: KmsApi, name: string, error: unknown): Promise<boolean> {
  if (!(error instanceof KmsError)) return false
  return kms.findStore(name).then(
    (store) => store !== undefined,
    () => true,
  )
}

async function fromFile(job: Job, file: string): Promise<ProxyCredential> {
  const pair = parseConsoleFile((await readPrivateFile(file)).toString('utf8'))
  const known = await loadCredential(job, pair.accessKeyId)
  if (known.secretAccessKey.reveal() !== pair.secretAccessKey.reveal()) {
    throw new UsageError(
      'INPUT_INVALID',
      `the secret in ${file} differs from the secret in this store`,
    )
  }
  return pair
}

async function checkThroughEndpoint(job: Job, credential: ProxyCredential): Promise<void> {
  const { context, plan, kms } = job
  if (context.flags['skip-endpoint-checks'] === true) {
    context.output.line('  - KMS checks the endpoint itself')
    return
  }
  const { hostname } = new URL(plan.store.uriEndpoint)
  const instead = hostFlag(context, 'connect-to')
  const [ca, list] = [stringFlag(context, 'ca'), stringFlag(context, 'authorities')]
  const findings = await checkEndpoint({
    remote: {
      endpoint: {
        host: hostname,
        port: instead?.port ?? 443,
        ...(instead === undefined ? {} : { address: instead.host }),
        ...(ca === undefined ? {} : { ca: await readFile(ca, 'utf8') }),
      },
      hostHeader: hostname,
      uriPath: plan.store.uriPath,
      keyId: plan.keyId,
      credential: { ...credential, region: kms.region },
    },
    authorities: list === undefined ? builtInAuthorities() : await loadAuthorities(list),
    withDns: instead === undefined,
    keyId: plan.keyId,
  })
  const ignored = stringFlag(context, 'ignore')?.split(',') ?? []
  reportFindings(context.output, ignoreChecks(findings, ignored))
  context.output.line('')
}

/** Finds the KMS key that an earlier run made, or creates it. @throws KmsError */
export async function findOrCreateKey(
  kms: KmsApi,
  storeId: string,
  keyId: string,
): Promise<KmsKeySummary> {
  try {
    return await kms.createKey(storeId, keyId)
  } catch (error) {
    if (!isException(error, 'XksKeyAlreadyInUseException')) throw error
    const { keys } = await kms.listKeys(storeId)
    const found = keys.find((key) => key.xksKeyId === keyId)
    if (found === undefined) throw error
    return found
  }
}

/** Returns the line to print for a finished step. */
export function done(operation: string, detail: string, mark = '✓'): string {
  return `  ${mark} ${operation.padEnd(24)} ${detail}`
}

/** @returns the access key id that KMS signs with. @throws RegistrationError STORE_DIFFERS */
function checkSame(found: CustomKeyStoresListEntry, expected: NewStore): string {
  const proxy = found.XksProxyConfiguration
  const service = expected.vpcEndpointServiceName
  const rows: readonly (readonly [string, string | undefined, string | undefined])[] = [
    ['CustomKeyStoreType', found.CustomKeyStoreType, 'EXTERNAL_KEY_STORE'],
    ['XksProxyUriEndpoint', proxy?.UriEndpoint, expected.uriEndpoint],
    ['XksProxyUriPath', proxy?.UriPath, expected.uriPath],
    [
      'XksProxyConnectivity',
      proxy?.Connectivity,
      service === undefined ? 'PUBLIC_ENDPOINT' : 'VPC_ENDPOINT_SERVICE',
    ],
    ['XksProxyVpcEndpointServiceName', proxy?.VpcEndpointServiceName, service],
  ]
  const differing = rows.filter(([, is, should]) => is !== should)
  if (differing.length > 0) {
    const list = differing
      .map(([name, is = 'nothing', should = 'nothing']) => `${name} is ${is}, not ${should}`)
      .join('; ')
    throw new RegistrationError(
      'STORE_DIFFERS',
      `KMS already has a key store ${expected.name} with different settings: ${list}`,
      {
        hint: 'choose another --name, or change the key store with aws kms update-custom-key-store',
      },
    )
  }
  return proxy?.AccessKeyId ?? ''
}

export interface RoundTrip {
  readonly generateDataKeyMs: number
  readonly decryptMs: number
}

const CONTEXT = { purpose: 'latchkey register' }
/**
 * Maximum time to wait until KMS knows a new key, in milliseconds. KMS is eventually consistent, so
 * a new key may be unknown for a few seconds.
 */
const KNOWN_WITHIN_MS = 60_000
const PAUSE_MS = 1000

/** @throws KmsError, RegistrationError KMS_ROUND_TRIP_FAILED */
export async function roundTripByKms(kms: KmsApi, keyId: string): Promise<RoundTrip> {
  const first = await timed(() => generateWhenKnown(kms, keyId))
  const second = await timed(() => kms.decrypt(first.value.ciphertextBlob, CONTEXT))
  const same =
    first.value.plaintext.length === 32 && equalBytes(first.value.plaintext, second.value)
  first.value.plaintext.fill(0)
  second.value.fill(0)
  if (!same) {
    throw new RegistrationError(
      'KMS_ROUND_TRIP_FAILED',
      'Decrypt returned a data key that differs from the generated data key',
    )
  }
  return { generateDataKeyMs: first.ms, decryptMs: second.ms }
}

async function generateWhenKnown(kms: KmsApi, keyId: string) {
  const until = systemClock.monotonic() + KNOWN_WITHIN_MS
  for (;;) {
    try {
      return await kms.generateDataKey(keyId, CONTEXT)
    } catch (error) {
      const isNew = isException(error, 'NotFoundException')
      if (!isNew || systemClock.monotonic() > until) throw error
      await pause(PAUSE_MS)
    }
  }
}

async function timed<T>(work: () => Promise<T>) {
  const startedAt = systemClock.monotonic()
  const value = await work()
  return { value, ms: systemClock.monotonic() - startedAt }
}
