/**
 * KMS keys in external key stores: the state of each key in KMS, and the external key behind it.
 */
// SPDX-License-Identifier: Apache-2.0
import { type KeyObject, createSecretKey, randomBytes, randomUUID } from 'node:crypto'
import type { Clock } from '../../core/clock.ts'
import { partitionOf } from '../../core/partitions.ts'
import { KmsException } from './proxy-failure.ts'

export interface KmsKey {
  /** A UUID. */
  readonly keyId: string
  readonly arn: string
  readonly customKeyStoreId: string
  readonly xksKeyId: string
  readonly description: string
  readonly createdAt: number
  readonly state: 'Enabled' | 'Disabled' | 'PendingDeletion'
  /** Deletion date in milliseconds since the Unix epoch, while deletion is pending. */
  readonly deletionAt?: number | undefined
  /**
   * KMS's own key material, which never leaves KMS. It performs the inner encryption of the double
   * encryption.
   */
  readonly material: KeyObject
  /** 16 bytes. */
  readonly backingKeyId: Buffer
}

export interface KmsKeys {
  add(input: {
    readonly customKeyStoreId: string
    readonly xksKeyId: string
    readonly description?: string
  }): KmsKey
  /** Finds a key by its id or ARN, or by the name or ARN of an alias. @throws KmsException NotFoundException */
  get(keyIdOrArn: string): KmsKey
  list(): readonly KmsKey[]
  hasKeys(customKeyStoreId: string): boolean
  /** @throws KmsException XksKeyAlreadyInUseException */
  checkFree(customKeyStoreId: string, xksKeyId: string): void
  /** @throws KmsException DisabledException, KMSInvalidStateException */
  checkUsable(key: KmsKey): void
  setEnabled(keyIdOrArn: string, enabled: boolean): void
  /** @param days 7 to 30 */
  scheduleDeletion(keyIdOrArn: string, days: number): KmsKey
  cancelDeletion(keyIdOrArn: string): KmsKey
  setDescription(keyIdOrArn: string, description: string): void
}

const DAY_MS = 86_400_000
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

export function createKmsKeys(deps: {
  readonly clock: Clock
  readonly region: string
  readonly accountId: string
  readonly initial?: readonly KmsKey[]
  /** Returns the key's UUID for an alias, and undefined for any other text. */
  readonly resolveAlias?: (text: string) => string | undefined
}): KmsKeys {
  const keys = new Map((deps.initial ?? []).map((one) => [one.keyId, one]))
  const prefix = `arn:${partitionOf(deps.region).id}:kms:${deps.region}:${deps.accountId}:key/`

  /** Removes the keys whose deletion date has passed. */
  function current(): readonly KmsKey[] {
    for (const key of keys.values()) {
      if (key.deletionAt !== undefined && deps.clock.now() >= key.deletionAt) keys.delete(key.keyId)
    }
    return [...keys.values()]
  }

  function get(text: string): KmsKey {
    const id = deps.resolveAlias?.(text) ?? text
    const found = current().find(({ keyId, arn }) => keyId === id || arn === id)
    if (found !== undefined) return found
    const arn = id.startsWith('arn:') ? id : `${prefix}${id}`
    const message = UUID.test(arn.slice(arn.lastIndexOf('/') + 1))
      ? `Key '${arn}' does not exist`
      : `Invalid keyId '${id}'`
    throw new KmsException('NotFoundException', message)
  }

  function change(keyIdOrArn: string, state: KmsKey['state'], deletionAt?: number): KmsKey {
    const changed = { ...get(keyIdOrArn), state, deletionAt }
    keys.set(changed.keyId, changed)
    return changed
  }

  return {
    add({ customKeyStoreId, xksKeyId, description = '' }) {
      const keyId = randomUUID()
      const key: KmsKey = {
        keyId,
        arn: `${prefix}${keyId}`,
        customKeyStoreId,
        xksKeyId,
        description,
        createdAt: deps.clock.now(),
        state: 'Enabled',
        material: createSecretKey(randomBytes(32)),
        backingKeyId: randomBytes(16),
      }
      keys.set(keyId, key)
      return key
    },
    get,
    list: current,
    hasKeys: (id) => current().some(({ customKeyStoreId }) => customKeyStoreId === id),
    checkFree(customKeyStoreId, xksKeyId) {
      const isTaken = (key: KmsKey) =>
        key.customKeyStoreId === customKeyStoreId && key.xksKeyId === xksKeyId
      if (current().some(isTaken)) {
        throw new KmsException(
          'XksKeyAlreadyInUseException',
          'another KMS key in this external key store already uses this external key',
        )
      }
    },
    checkUsable({ state, arn }) {
      if (state === 'Disabled') throw new KmsException('DisabledException', `${arn} is disabled.`)
      if (state === 'PendingDeletion') {
        throw new KmsException('KMSInvalidStateException', `${arn} is pending deletion.`)
      }
    },
    setEnabled(keyIdOrArn, enabled) {
      const key = get(keyIdOrArn)
      if (key.state === 'PendingDeletion') {
        throw new KmsException('KMSInvalidStateException', `${key.arn} is pending deletion.`)
      }
      change(keyIdOrArn, enabled ? 'Enabled' : 'Disabled')
    },
    scheduleDeletion(keyIdOrArn, days) {
      if (!Number.isInteger(days) || days < 7 || days > 30) {
        throw new KmsException(
          'ValidationException',
          `expected PendingWindowInDays from 7 to 30, found ${String(days)}`,
        )
      }
      return change(keyIdOrArn, 'PendingDeletion', deps.clock.now() + days * DAY_MS)
    },
    cancelDeletion(keyIdOrArn) {
      const { arn, state } = get(keyIdOrArn)
      if (state === 'PendingDeletion') return change(keyIdOrArn, 'Disabled')
      throw new KmsException('KMSInvalidStateException', `${arn} is not pending deletion.`)
    },
    setDescription(keyIdOrArn, description) {
      const key = get(keyIdOrArn)
      keys.set(key.keyId, { ...key, description })
    },
  }
}
