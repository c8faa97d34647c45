/** The KMS operations that register, unregister and rotate-credentials use. Only this file loads the AWS SDK. */
// SPDX-License-Identifier: Apache-2.0
import type * as Sdk from '@aws-sdk/client-kms'
import { type AwsTimeouts, toRequestHandler } from '../../core/aws-http.ts'
import { raceSignal } from '../../core/deadline.ts'
import type { Secret } from '../../core/secret.ts'
import { RegistrationError, hintOf } from './explanations.ts'
import { createAwsAgent } from './network.ts'

/** An exception from KMS, or a failure to reach it. `exception` is the name that the SDK reports. */
export class KmsError extends RegistrationError {
  override readonly name = 'KmsError'
  readonly exception: string

  constructor(exception: string, message: string, region: string, cause: unknown) {
    const hint = hintOf(exception, region)
    super('KMS_REFUSED', `${exception}: ${message}`, {
      cause,
      ...(hint === undefined ? {} : { hint }),
    })
    this.exception = exception
  }
}

export interface ProxyCredential {
  readonly accessKeyId: string
  readonly secretAccessKey: Secret
}

export interface NewStore {
  readonly name: string
  readonly uriEndpoint: string
  readonly uriPath: string
  /** Set for VPC_ENDPOINT_SERVICE connectivity. */
  readonly vpcEndpointServiceName?: string
  /** AWS account id, twelve digits. */
  readonly vpcEndpointServiceOwner?: string
}

export interface KmsKeySummary {
  readonly keyId: string
  readonly arn: string
  readonly xksKeyId: string
  /** Key state, such as `Enabled`, `Disabled`, `PendingDeletion` or `Unavailable`. */
  readonly state: string
  readonly deletionAt?: Date
}

export interface KmsApi {
  readonly region: string
  /** Finds a key store by name; returns undefined if there is none. */
  findStore(name: string): Promise<Sdk.CustomKeyStoresListEntry | undefined>
  getStore(id: string): Promise<Sdk.CustomKeyStoresListEntry>
  /** @returns the id of the new key store */
  createStore(input: NewStore, credential: ProxyCredential): Promise<string>
  connectStore(id: string): Promise<void>
  disconnectStore(id: string): Promise<void>
  updateCredential(id: string, credential: ProxyCredential): Promise<void>
  deleteStore(id: string): Promise<void>
  createKey(storeId: string, xksKeyId: string): Promise<KmsKeySummary>
  /** Reads every key of the account and region, because KMS cannot list keys by key store. */
  listKeys(storeId: string): Promise<{ keys: readonly KmsKeySummary[]; unreadable: number }>
  /** @param days 7 to 30 */
  scheduleKeyDeletion(keyId: string, days: number): Promise<Date | undefined>
  generateDataKey(
    keyId: string,
    context: Record<string, string>,
  ): Promise<{ plaintext: Uint8Array; ciphertextBlob: Uint8Array }>
  decrypt(ciphertextBlob: Uint8Array, context: Record<string, string>): Promise<Uint8Array>
  close(): void
}

/** `callMs` limits an entire call, including credentials, retries and the response body. */
type KmsTimeouts = AwsTimeouts & { readonly callMs: number }

const TIMEOUTS: KmsTimeouts = { connectMs: 5000, requestMs: 30_000, callMs: 120_000 }

/** Creates a KMS client that uses AWS's own settings and the proxy settings. @throws KmsError */
export async function openKms(
  region: string | undefined,
  timeouts: KmsTimeouts = TIMEOUTS,
): Promise<KmsApi> {
  // Without this variable, the SDK would print a warning about Node.js 20 before every result.
  process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true'
  const [sdk, { defaultProvider }] = await Promise.all([
    import('@aws-sdk/client-kms'),
    import('@aws-sdk/credential-provider-node'),
  ])
  const requestHandler = toRequestHandler(await createAwsAgent(process.env), timeouts)
  const client = new sdk.KMSClient({
    ...(region === undefined ? {} : { region }),
    requestHandler,
    // The SDK's IAM Identity Center clients inherit nothing from this client, and would otherwise
    // bypass the proxy.
    credentials: defaultProvider({ clientConfig: { requestHandler } }),
  })
  const { callMs } = timeouts
  const found = await wrapKmsErrors(() => client.config.region(), region ?? '', callMs)
  const wrap = <T>(work: () => Promise<T>) => wrapKmsErrors(work, found, callMs)
  return createKmsApi(sdk, client, { region: found, wrap })
}

const STORE_NOT_FOUND = 'CustomKeyStoreNotFoundException'

interface Calls {
  readonly region: string
  /** @throws KmsError */
  readonly wrap: <T>(work: () => Promise<T>) => Promise<T>
}

function createKmsApi(sdk: typeof Sdk, client: Sdk.KMSClient, { region, wrap }: Calls): KmsApi {
  const describe = (which: { CustomKeyStoreId: string } | { CustomKeyStoreName: string }) =>
    wrap(() => client.send(new sdk.DescribeCustomKeyStoresCommand(which)))

  async function* listAll() {
    let marker: string | undefined
    do {
      const page = await wrap(() =>
        client.send(new sdk.ListKeysCommand({ ...(marker && { Marker: marker }), Limit: 1000 })),
      )
      yield* page.Keys ?? []
      marker = page.Truncated === true ? page.NextMarker : undefined
    } while (marker !== undefined)
  }

  return {
    region,
    async findStore(name) {
      try {
        return (await describe({ CustomKeyStoreName: name })).CustomKeyStores?.[0]
      } catch (error) {
        if (isException(error, STORE_NOT_FOUND)) return undefined
        throw error
      }
    },
    async getStore(id) {
      const [store] = (await describe({ CustomKeyStoreId: id })).CustomKeyStores ?? []
      if (store === undefined) {
        throw new KmsError(STORE_NOT_FOUND, `KMS has no custom key store ${id}`, region, undefined)
      }
      return store
    },
    async createStore(input, credential) {
      const { CustomKeyStoreId: id = '' } = await wrap(() =>
        client.send(
          new sdk.CreateCustomKeyStoreCommand({
            ...toCreateParameters(input),
            XksProxyAuthenticationCredential: toWire(credential),
          }),
        ),
      )
      return id
    },
    async connectStore(id) {
      await wrap(() => client.send(new sdk.ConnectCustomKeyStoreCommand({ CustomKeyStoreId: id })))
    },
    async disconnectStore(id) {
      await wrap(() =>
        client.send(new sdk.DisconnectCustomKeyStoreCommand({ CustomKeyStoreId: id })),
      )
    },
    async updateCredential(id, credential) {
      await wrap(() =>
        client.send(
          new sdk.UpdateCustomKeyStoreCommand({
            CustomKeyStoreId: id,
            XksProxyAuthenticationCredential: toWire(credential),
          }),
        ),
      )
    },
    async deleteStore(id) {
      await wrap(() => client.send(new sdk.DeleteCustomKeyStoreCommand({ CustomKeyStoreId: id })))
    },
    async createKey(storeId, xksKeyId) {
      const { KeyMetadata: key } = await wrap(() =>
        client.send(new sdk.CreateKeyCommand(toKeyParameters(storeId, xksKeyId))),
      )
      return toSummary(key)
    },
    async listKeys(storeId) {
      const keys: KmsKeySummary[] = []
      let unreadable = 0
      for await (const { KeyId: keyId } of listAll()) {
        try {
          const { KeyMetadata: key } = await wrap(() =>
            client.send(new sdk.DescribeKeyCommand({ KeyId: keyId })),
          )
          if (key?.CustomKeyStoreId === storeId) keys.push(toSummary(key))
        } catch (error) {
          if (!isException(error, 'AccessDeniedException')) throw error
          unreadable += 1
        }
      }
      return { keys, unreadable }
    },
    async scheduleKeyDeletion(keyId, days) {
      const { DeletionDate: date } = await wrap(() =>
        client.send(
          new sdk.ScheduleKeyDeletionCommand({ KeyId: keyId, PendingWindowInDays: days }),
        ),
      )
      return date
    },
    async generateDataKey(keyId, context) {
      const { Plaintext: plaintext, CiphertextBlob: ciphertextBlob } = await wrap(() =>
        client.send(
          new sdk.GenerateDataKeyCommand({
            KeyId: keyId,
            KeySpec: 'AES_256',
            EncryptionContext: context,
          }),
        ),
      )
      return {
        plaintext: plaintext ?? new Uint8Array(),
        ciphertextBlob: ciphertextBlob ?? new Uint8Array(),
      }
    },
    async decrypt(ciphertextBlob, context) {
      const { Plaintext: plaintext } = await wrap(() =>
        client.send(
          new sdk.DecryptCommand({ CiphertextBlob: ciphertextBlob, EncryptionContext: context }),
        ),
      )
      return plaintext ?? new Uint8Array()
    },
    close() {
      client.destroy()
    },
  }
}

/** Parameters of CreateCustomKeyStore without the credential, as --dry-run shows them. */
export function toCreateParameters(input: NewStore) {
  const { vpcEndpointServiceName: service, vpcEndpointServiceOwner: owner } = input
  return {
    CustomKeyStoreName: input.name,
    CustomKeyStoreType: 'EXTERNAL_KEY_STORE',
    XksProxyConnectivity: service === undefined ? 'PUBLIC_ENDPOINT' : 'VPC_ENDPOINT_SERVICE',
    XksProxyUriEndpoint: input.uriEndpoint,
    XksProxyUriPath: input.uriPath,
    ...(service === undefined ? {} : { XksProxyVpcEndpointServiceName: service }),
    ...(owner === undefined ? {} : { XksProxyVpcEndpointServiceOwner: owner }),
  } as const
}

export function toKeyParameters(storeId: string, xksKeyId: string) {
  return {
    Origin: 'EXTERNAL_KEY_STORE',
    CustomKeyStoreId: storeId,
    XksKeyId: xksKeyId,
    Description: `Latchkey external key ${xksKeyId}`,
  } as const
}

function toWire({ accessKeyId, secretAccessKey }: ProxyCredential) {
  return { AccessKeyId: accessKeyId, RawSecretAccessKey: secretAccessKey.reveal() }
}

interface KeyMetadata {
  readonly KeyId?: string | undefined
  readonly Arn?: string | undefined
  readonly KeyState?: string | undefined
  readonly DeletionDate?: Date | undefined
  readonly XksKeyConfiguration?: { readonly Id?: string | undefined } | undefined
}

function toSummary(key: KeyMetadata | undefined): KmsKeySummary {
  return {
    keyId: key?.KeyId ?? '',
    arn: key?.Arn ?? '',
    xksKeyId: key?.XksKeyConfiguration?.Id ?? '',
    state: key?.KeyState ?? '',
    ...(key?.DeletionDate === undefined ? {} : { deletionAt: key.DeletionDate }),
  }
}

export function isException(error: unknown, name: string): boolean {
  return error instanceof KmsError && error.exception === name
}

/** Copies only the name and the message, because an SDK error may contain the whole request. */
async function wrapKmsErrors<T>(
  work: () => Promise<T>,
  region: string,
  callMs: number,
): Promise<T> {
  const deadline = AbortSignal.timeout(callMs)
  try {
    return await raceSignal(work(), deadline)
  } catch (error) {
    if (!(error instanceof Error)) throw error
    if (deadline.aborted) {
      const message = `no response within ${String(callMs / 1000)} seconds`
      throw new KmsError('TimeoutError', message, region, error)
    }
    throw new KmsError(error.name, error.message, region, error)
  }
}
