/**
 * Finds the exposure that a kill cannot undo: the callers that hold data keys from earlier calls,
 * and how long they can use those keys.
 */
// SPDX-License-Identifier: Apache-2.0
import { forEachInSlices, mapInSlices, sortInSlices } from '../core/slices.ts'
import type { Activity } from './usage-table.ts'
import { accountOf } from './rehearsal.ts'
import { findCachingFact, type CachingFact } from './services.ts'
import { SUCCESS, type UsageKey } from './usage-key.ts'

export interface Fetcher {
  readonly principal: string
  readonly account: string
  readonly kmsOperation: string
  /**
   * The proxy operation: Decrypt returned an existing data key; Encrypt was part of creating a new
   * one.
   */
  readonly operation: string
  readonly requests: number
  readonly lastAt: number
}

/** The exposure of one key through one service. */
export interface Exposure {
  readonly keyStore: string
  readonly keyId: string
  readonly service: CachingFact
  readonly requests: number
  /** Wall time of the first and last fetch in the period, in milliseconds since the Unix epoch. */
  readonly firstAt: number
  readonly lastAt: number
  /** Wall time by which the exposure has certainly ended; absent when it is unknown. */
  readonly endsAt?: number
  /** Callers that fetched data keys, most requests first. */
  readonly by: readonly Fetcher[]
}

/**
 * KMS operations that leave the caller with a plaintext data key. GenerateDataKeyWithoutPlaintext
 * and ReEncrypt return none, and a caller of Encrypt already had the plaintext.
 */
const GIVES_DATA_KEY = new Set(['Decrypt', 'GenerateDataKey'])

/** Number of activities or exposures that are handled in one turn of the event loop. */
const PER_TURN = 200

/** Returns the exposures, most recent fetch first. */
export async function findExposure(activities: readonly Activity[]): Promise<readonly Exposure[]> {
  const groups = new Map<string, Activity[]>()
  await forEachInSlices(activities, PER_TURN, (one) => {
    const { subject } = one
    if (!isFetch(subject)) return
    const service = findCachingFact(subject.viaService, subject.principal)
    const id = `${subject.keyStore}/${subject.keyId ?? ''} ${service.name}`
    const group = groups.get(id)
    if (group === undefined) groups.set(id, [one])
    else group.push(one)
  })
  const exposures = await mapInSlices(groups.values(), PER_TURN, toExposure)
  return sortInSlices(exposures, (a, b) => b.lastAt - a.lastAt)
}

function isFetch({ outcome, operation, kmsOperation, isOverflow }: UsageKey): boolean {
  if (outcome !== SUCCESS) return false
  // Neither the caller nor the purpose of this request is known, so it is included to be safe.
  if (isOverflow) return operation === 'Decrypt' || operation === 'Encrypt'
  return kmsOperation !== undefined && GIVES_DATA_KEY.has(kmsOperation)
}

function toExposure(group: readonly Activity[]): Exposure {
  const [first] = group
  if (first === undefined) throw new TypeError('expected at least one member in the group')
  const { keyStore, keyId = '(unnamed)', viaService, principal } = first.subject
  const service = findCachingFact(viaService, principal)
  const lastAt = group.reduce((latest, one) => Math.max(latest, one.lastAt), 0)
  return {
    keyStore,
    keyId,
    service,
    requests: group.reduce((total, one) => total + one.requests, 0),
    firstAt: group.reduce((earliest, one) => Math.min(earliest, one.firstAt), Infinity),
    lastAt,
    ...(service.atMostMs === undefined ? {} : { endsAt: lastAt + service.atMostMs }),
    by: group.map(toFetcher).sort((a, b) => b.requests - a.requests),
  }
}

function toFetcher({ subject, requests, lastAt }: Activity): Fetcher {
  const { principal, kmsKeyArn, kmsOperation = '-', operation, isOverflow } = subject
  return {
    principal: isOverflow ? '(unnamed)' : (principal ?? '-'),
    account: accountOf(principal, kmsKeyArn) ?? '-',
    ...{ kmsOperation, operation, requests, lastAt },
  }
}
