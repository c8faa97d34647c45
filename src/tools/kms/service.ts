/** Implements `latchkey kms`: serves the KMS emulator on a port, for an application's AWS SDKs. */
// SPDX-License-Identifier: Apache-2.0
import { systemClock as clock } from '../../core/clock.ts'
import { Secret } from '../../core/secret.ts'
import type { KmsSideClientOptions } from '../../kms/client/client.ts'
import type { KmsCredential } from '../../kms/emulator/api/callers.ts'
import { openCloudTrail } from '../../kms/emulator/api/cloudtrail.ts'
import { type KmsApiOptions, createKmsApi } from '../../kms/emulator/api/server.ts'
import { type KmsStandIn, createKmsStandIn } from '../../kms/emulator/emulator.ts'
import { EMPTY_STATE, loadKmsState } from '../../kms/emulator/state.ts'
import { UsageError } from '../../terminal/command.ts'
import { readPrivateFile } from '../../terminal/files.ts'
import { API_ROOT } from '../../xks/route.ts'
import type { Target } from '../simulate/target.ts'

export interface KmsServiceOptions extends Omit<KmsApiOptions, 'kms' | 'clock' | 'cloudTrail'> {
  /** File to which a CloudTrail record of each call is appended (default: none). */
  readonly cloudTrailFile?: string
  readonly host: string
  /** Port to listen on; 0 selects any free port. */
  readonly port: number
  /** Timeout for calls to a proxy, in milliseconds. */
  readonly timeoutMs: number
  /**
   * How to reach proxies (default: by DNS, on port 443, with the system's certificate authorities).
   */
  readonly reach?: Pick<KmsSideClientOptions, 'connectTo' | 'caFile' | 'clientCertificate'>
  /** Quickstart's proxy, which is registered if the emulator's state has no key store yet. */
  readonly demo?: Target
}

export interface KmsService {
  readonly url: string
  /** ARN and alias of the demo's KMS key. */
  readonly demoKey?: { readonly arn: string; readonly alias: string }
  close(): Promise<void>
}

const DEMO_STORE = 'latchkey-demo'
const DEMO_ALIAS = `alias/${DEMO_STORE}`

/** @throws KmsStateError, KmsException when the demo's proxy cannot be registered, or a system error */
export async function startKmsService(options: KmsServiceOptions): Promise<KmsService> {
  const { stateFile, reach, region, accountId } = options
  const kms = createKmsStandIn({
    ...{ clock, region, accountId, timeoutMs: options.timeoutMs },
    ...(reach === undefined ? {} : { reach: () => reach }),
    initial: stateFile === undefined ? EMPTY_STATE : await loadKmsState(stateFile, options),
  })
  const trailFile = options.cloudTrailFile
  const trail = trailFile === undefined ? {} : { cloudTrail: await openCloudTrail(trailFile) }
  const api = createKmsApi({ ...options, ...trail, kms, clock })
  try {
    if (options.demo !== undefined && kms.stores.describe().length === 0) {
      await registerDemo(kms, options.demo, options.credentials)
      await api.save()
    }
    const port = await api.listen(options)
    const host = options.host.includes(':') ? `[${options.host}]` : options.host
    const known = kms.aliases.list().find(({ name }) => name === DEMO_ALIAS)
    return {
      url: `http://${host}:${String(port)}`,
      ...(known && { demoKey: { arn: kms.keys.get(known.keyId).arn, alias: DEMO_ALIAS } }),
      close: () => api.close(),
    }
  } catch (error) {
    await api.close()
    throw error
  }
}

async function registerDemo(
  kms: KmsStandIn,
  { host, keyStore, credential, xksKeyId }: Target,
  [caller]: readonly KmsCredential[],
): Promise<void> {
  if (caller === undefined) throw new TypeError('expected at least one caller')
  const store = await kms.stores.create({
    name: DEMO_STORE,
    proxy: {
      connectivity: 'PUBLIC_ENDPOINT',
      uriEndpoint: `https://${host}`,
      uriPath: `${keyStore.prefix}${API_ROOT}`,
      accessKeyId: credential.accessKeyId,
      rawSecretAccessKey: credential.secretAccessKey,
    },
  })
  kms.stores.connect(store.id)
  await kms.stores.settled(store.id)
  const key = await kms.createKey(caller, {
    ...{ customKeyStoreId: store.id, xksKeyId },
    description: 'External key of latchkey quickstart',
  })
  kms.aliases.create(DEMO_ALIAS, key.keyId)
}

/** The fields of one entry in the callers file. */
interface CallerEntry {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly principal: string
  readonly viaService?: string
  readonly sourceVpc?: string
  readonly sourceVpce?: string
}

const CALLER_FIELDS = ['accessKeyId', 'secretAccessKey', 'principal'] as const
const OPTIONAL_FIELDS = ['viaService', 'sourceVpc', 'sourceVpce'] as const

/**
 * Reads a JSON list of callers.
 * @throws UsageError, whose message contains no secret
 */
export async function loadCallers(path: string): Promise<readonly KmsCredential[]> {
  const fail = (what: string): never => {
    throw new UsageError('INPUT_INVALID', `${path}: ${what}`)
  }
  let value: unknown
  try {
    value = JSON.parse((await readPrivateFile(path)).toString('utf8'))
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    fail('the file is not JSON')
  }
  if (!Array.isArray(value) || value.length === 0) return fail('expected a list of callers')
  return value.map((raw: unknown, index) => {
    const entry = (raw ?? {}) as CallerEntry
    for (const name of CALLER_FIELDS) {
      if (typeof entry[name] !== 'string') fail(`[${String(index)}].${name}: expected a string`)
    }
    const known: readonly string[] = [...CALLER_FIELDS, ...OPTIONAL_FIELDS]
    const extra = Object.keys(entry).find((name) => !known.includes(name))
    if (extra !== undefined) fail(`[${String(index)}]: unknown field ${JSON.stringify(extra)}`)
    const { secretAccessKey, principal, ...rest } = entry
    return { ...rest, principalArn: principal, secretAccessKey: new Secret(secretAccessKey) }
  })
}
