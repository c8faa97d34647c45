/**
 * An emulator of AWS KMS, limited to what an external key store proxy sees, for `latchkey kms`,
 * `latchkey simulate` and the tests. It calls the real proxy with signed requests over TLS.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto'
import type { Clock } from '../../core/clock.ts'
import { PROBE_AAD, probeRequestId } from '../../core/probe.ts'
import type { KmsSideClientOptions } from '../client/client.ts'
import { getKeyMetadataBody } from '../client/requests.ts'
import { type Aliases, createAliases } from './aliases.ts'
import { type Attachments, createAttachments } from './attachments.ts'
import { type CustomKeyStores, createCustomKeyStores } from './custom-key-stores.ts'
import { type KmsCryptography, createKmsCryptography } from './kms-cryptography.ts'
import { type KmsKey, type KmsKeys, createKmsKeys } from './kms-keys.ts'
import { type CallReport, type ProxyConnection, createProxyConnection } from './proxy-connection.ts'
import { KmsException, toKmsException } from './proxy-failure.ts'
import { type KmsCall, type KmsCaller, keyMetadataMetadata } from './request-metadata.ts'
import { EMPTY_STATE, type KmsState } from './state.ts'
import { findParameterFaults } from './xks-parameters.ts'

export interface KmsStandInOptions {
  readonly clock: Clock
  readonly region: string
  /** 12 digits. */
  readonly accountId: string
  /**
   * Returns how to reach an endpoint that lacks a public DNS name or a certificate from a public
   * authority.
   */
  readonly reach?: (
    uriEndpoint: string,
  ) => Pick<KmsSideClientOptions, 'connectTo' | 'caFile' | 'clientCertificate'>
  /** Timeout of a call in milliseconds (KMS uses 250). */
  readonly timeoutMs?: number
  readonly onCall?: (report: CallReport) => void
  readonly connectDelay?: () => Promise<void>
  /** Whether to mark every request as sent by one of Latchkey's own tools (core/probe.ts). */
  readonly isProbe?: boolean
  readonly vpcEndpointServices?: ReadonlyMap<string, string>
  /** State of an earlier emulator to continue from (default: empty). */
  readonly initial?: KmsState
}

export interface NewKmsKey {
  readonly customKeyStoreId: string
  readonly xksKeyId: string
  readonly description?: string
}

export interface KmsStandIn extends KmsCryptography {
  readonly stores: CustomKeyStores
  readonly keys: KmsKeys
  readonly aliases: Aliases
  readonly attachments: Attachments
  /** Asks the proxy for the external key, then creates a KMS key. */
  createKey(caller: KmsCaller, input: NewKmsKey): Promise<KmsKey>
  /** Returns `Unavailable` as the key state while the key store is not connected. */
  keyState(key: KmsKey): string
  /** Returns the state from which another emulator can continue. The state contains secrets. */
  state(): KmsState
  close(): Promise<void>
}

export function createKmsStandIn(options: KmsStandInOptions): KmsStandIn {
  const { initial = EMPTY_STATE } = options
  const aliases = createAliases({ ...options, initial: initial.aliases })
  const attachments = createAttachments(options.clock, initial.attachments)
  const keys = createKmsKeys({
    ...{ clock: options.clock, region: options.region, accountId: options.accountId },
    ...{ initial: initial.keys, resolveAlias: aliases.resolve },
  })
  const isProbe = options.isProbe === true
  const requestId = isProbe ? probeRequestId : randomUUID
  const stores = createCustomKeyStores({
    clock: options.clock,
    connect: ({ uriEndpoint, uriPath, accessKeyId, rawSecretAccessKey }) =>
      createProxyConnection(
        {
          endpoint: uriEndpoint,
          uriPath,
          accessKeyId,
          secretAccessKey: rawSecretAccessKey,
          region: options.region,
          ...options.reach?.(uriEndpoint),
          ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
        },
        options.onCall,
      ),
    connectDelay: options.connectDelay ?? (() => Promise.resolve()),
    vpcEndpointServices: options.vpcEndpointServices ?? new Map(),
    hasKeys: (id) => keys.hasKeys(id),
    requestId,
    initial: initial.stores,
  })
  return {
    ...createKmsCryptography({
      keys,
      connectionOf: ({ customKeyStoreId }) => stores.connection(customKeyStoreId),
      requestId,
      ...(isProbe ? { aadPrefix: PROBE_AAD } : {}),
    }),
    stores,
    keys,
    aliases,
    attachments,
    async createKey(caller, input) {
      const [fault] = findParameterFaults({ xksKeyId: input.xksKeyId })
      if (fault !== undefined) throw new KmsException('ValidationException', fault.message)
      if (stores.get(input.customKeyStoreId).state !== 'CONNECTED') {
        throw new KmsException(
          'CustomKeyStoreInvalidStateException',
          'the key store is not connected',
        )
      }
      keys.checkFree(input.customKeyStoreId, input.xksKeyId)
      try {
        const call = {
          caller,
          kmsOperation: 'CreateKey',
          kmsRequestId: caller.requestId ?? requestId(),
        }
        await checkExternalKey(stores.connection(input.customKeyStoreId), input.xksKeyId, call)
      } catch (error) {
        throw toKmsException(error, 'CreateKey')
      }
      return keys.add(input)
    },
    keyState(key) {
      const connected = stores.get(key.customKeyStoreId).state === 'CONNECTED'
      return key.state === 'PendingDeletion' || connected ? key.state : 'Unavailable'
    },
    state: () => ({
      stores: stores.describe(),
      keys: keys.list(),
      aliases: aliases.list(),
      attachments: attachments.all(),
    }),
    close: () => stores.close(),
  }
}

/**
 * Checks the external key as required by XKS 1.0.3, GetKeyMetadata, KMS Considerations.
 * @throws KmsException, ProxyFailure
 */
async function checkExternalKey(
  connection: ProxyConnection,
  xksKeyId: string,
  call: KmsCall,
): Promise<void> {
  const body = getKeyMetadataBody(keyMetadataMetadata(call))
  const answer = (await connection.call(`/keys/${xksKeyId}/metadata`, body)) as {
    keySpec?: unknown
    keyUsage?: unknown
    keyStatus?: unknown
  }
  const usage: readonly unknown[] = Array.isArray(answer.keyUsage) ? answer.keyUsage : []
  const fits =
    answer.keySpec === 'AES_256' &&
    answer.keyStatus === 'ENABLED' &&
    ['ENCRYPT', 'DECRYPT'].every((one) => usage.includes(one))
  if (!fits) {
    throw new KmsException(
      'XksKeyInvalidConfigurationException',
      'the external key must be an enabled AES-256 key that can encrypt and decrypt',
    )
  }
}
