/**
 * Performs the four steps of SigV4 credential rotation (XKS 1.0.3). Each step is recorded before
 * the next one begins, so that another run, from any host, can continue an interrupted rotation.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import { pause } from '../../core/deadline.ts'
import type { KeyStoreName } from '../../core/ids.ts'
import type { CredentialTable } from '../../sigv4/credential-table.ts'
import type { Credential } from '../../sigv4/credential.ts'
import type { RotationRecord, RotationRecords } from '../../sigv4/rotation-record.ts'
import { RegistrationError } from './explanations.ts'
import { type KmsApi, isException } from './kms-api.ts'

/** Uses of one credential across the whole fleet. */
export interface CredentialUse {
  readonly uses: number
  /** Time of last use, in milliseconds since the Unix epoch. */
  readonly lastAt: number
}

export interface RotationDeps {
  readonly kms: KmsApi
  readonly clock: Clock
  readonly records: RotationRecords
  readonly credentials: CredentialTable
  readonly loadUses: () => Promise<ReadonlyMap<string, CredentialUse>>
  readonly keyStore: KeyStoreName
  readonly customKeyStoreId: string
  /** Period in milliseconds for which the old credential must have been unused. */
  readonly quietMs: number
  /** Maximum time to wait for the old credential to become unused, in milliseconds. */
  readonly timeoutMs: number
  /** Interval between two checks, in milliseconds. */
  readonly pauseMs: number
  /** Maximum time in milliseconds until every server knows a new credential. */
  readonly pollIntervalMs: number
  readonly tell: (step: string, detail: string, isDone: boolean) => void
}

/**
 * Maximum time to retry the update, in milliseconds. KMS uses a new credential immediately, so
 * every instance of the fleet must already know it.
 */
const GIVEN_WITHIN_MS = 30_000
const POLLS = 3

/** @throws KmsError, RegistrationError ROTATION_WAITS */
export async function rotateCredential(deps: RotationDeps): Promise<RotationRecord> {
  const { records, kms, customKeyStoreId, clock } = deps
  const { XksProxyConfiguration: proxy } = await kms.getStore(customKeyStoreId)
  const current = proxy?.AccessKeyId ?? ''
  let record: RotationRecord = (await records.find(kms.region, customKeyStoreId)) ?? {
    ...{ region: kms.region, customKeyStoreId, keyStore: deps.keyStore },
    ...{ oldAccessKeyId: current, startedAt: clock.now() },
  }
  // Save the record before the credential is created, because a later run uses any newer credential
  // that is still unused.
  await records.save(record)
  const made = await findOrMake(deps, record)
  record = { ...record, newAccessKeyId: made.accessKeyId }
  await records.save(record)
  deps.tell('new credential', made.accessKeyId, true)
  // Read the clock before the update, because KMS first uses the new credential during the update.
  const givenAt = record.givenAt ?? clock.now()
  if (current === record.oldAccessKeyId) await give(deps, made)
  else if (current !== made.accessKeyId) throw changedByOthers(current)
  record = { ...record, givenAt }
  await records.save(record)
  deps.tell('UpdateCustomKeyStore', `KMS signs with ${made.accessKeyId}`, true)
  await untilSilent(deps, record, made.accessKeyId)
  await revokeOld(deps, record)
  await records.remove(record)
  return record
}

async function findOrMake(deps: RotationDeps, record: RotationRecord): Promise<Credential> {
  const active = (await deps.credentials.loadActive()).filter(
    ({ keyStore }) => keyStore === deps.keyStore,
  )
  const known = active.find(({ accessKeyId }) => accessKeyId === record.newAccessKeyId)
  if (known !== undefined) return known
  const uses = await deps.loadUses()
  const candidates = (await deps.credentials.list(deps.keyStore)).filter(
    ({ accessKeyId, createdAt, status }) =>
      status === 'ACTIVE' &&
      createdAt >= record.startedAt &&
      accessKeyId !== record.oldAccessKeyId &&
      !uses.has(accessKeyId),
  )
  const orphan = active.find(({ accessKeyId }) => accessKeyId === candidates[0]?.accessKeyId)
  if (orphan !== undefined && candidates.length === 1) return orphan
  return deps.credentials.create(deps.keyStore)
}

async function give(deps: RotationDeps, credential: Credential): Promise<void> {
  const { kms, clock } = deps
  const until = clock.monotonic() + GIVEN_WITHIN_MS
  for (;;) {
    await pause(POLLS * deps.pollIntervalMs)
    try {
      await kms.updateCredential(deps.customKeyStoreId, credential)
      return
    } catch (error) {
      const isEarly = isException(error, 'XksProxyIncorrectAuthenticationCredentialException')
      if (!isEarly || clock.monotonic() > until) throw error
    }
  }
}

async function untilSilent(
  deps: RotationDeps,
  { oldAccessKeyId, givenAt = 0 }: RotationRecord,
  newAccessKeyId: string,
): Promise<void> {
  const { clock } = deps
  const until = clock.monotonic() + deps.timeoutMs
  for (;;) {
    const uses = await deps.loadUses()
    const old = uses.get(oldAccessKeyId)
    const fresh = uses.get(newAccessKeyId)
    const silentMs = clock.now() - Math.max(old?.lastAt ?? 0, givenAt)
    const left = Math.max(0, deps.quietMs - silentMs)
    const isInUse = fresh !== undefined && fresh.lastAt >= givenAt
    const detail = [
      `${oldAccessKeyId}: ${describe(old)}, unused for ${toSeconds(silentMs)} of ${toSeconds(deps.quietMs)}`,
      `${newAccessKeyId}: ${describe(fresh)}`,
    ].join('; ')
    if (left === 0 && isInUse) {
      deps.tell('old credential', detail, true)
      return
    }
    deps.tell('old credential', detail, false)
    if (clock.monotonic() > until) {
      throw new RegistrationError(
        'ROTATION_WAITS',
        isInUse
          ? `${oldAccessKeyId} is still in use`
          : `${newAccessKeyId} has not been used yet, so KMS may not have it everywhere`,
        { hint: 'nothing is lost: run the same command later to continue' },
      )
    }
    const untilTimeoutMs = Math.max(0, until - clock.monotonic()) + 1
    await pause(Math.min(deps.pauseMs, Math.max(left, 100), untilTimeoutMs))
  }
}

async function revokeOld(deps: RotationDeps, { oldAccessKeyId }: RotationRecord): Promise<void> {
  const known = await deps.credentials.list(deps.keyStore)
  const old = known.find(({ accessKeyId }) => accessKeyId === oldAccessKeyId)
  if (old === undefined) {
    deps.tell('old credential', `${oldAccessKeyId} is not in this store`, true)
    return
  }
  if (old.status !== 'REVOKED') await deps.credentials.revoke(oldAccessKeyId)
  deps.tell('revoked', oldAccessKeyId, true)
}

function changedByOthers(current: string): RegistrationError {
  return new RegistrationError(
    'CREDENTIAL_STALE',
    `KMS signs with ${current}, which is neither the old nor the new credential of this rotation`,
    {
      hint: 'the credential in KMS was changed in the meantime; pass --restart to discard the rotation in progress',
    },
  )
}

function describe(use: CredentialUse | undefined): string {
  if (use === undefined) return 'never used'
  return `${String(use.uses)} uses, last at ${new Date(use.lastAt).toISOString().slice(0, 19)}Z`
}

function toSeconds(ms: number): string {
  return `${Math.floor(ms / 1000).toFixed(0)} s`
}
