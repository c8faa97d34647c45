/** Dry run of a kill switch: computes from recorded usage which requests it would have refused. */
// SPDX-License-Identifier: Apache-2.0
import { forEachInSlices, sortInSlices } from '../core/slices.ts'
import type { Activity } from './usage-table.ts'
import type { Operation, RequestSubject } from '../core/request.ts'
import { SUCCESS, type UsageKey } from './usage-key.ts'

/**
 * Applies the gate's rules as if only one switch existed. Returns why a request would be refused,
 * or undefined.
 */
export type Judge = (subject: RequestSubject) => string | undefined

/** A caller, service or key that would have been refused, and how often. */
export interface Refused {
  /** `-` when KMS sent no value. */
  readonly name: string
  readonly requests: number
  /** Wall time of the last request, in milliseconds since the Unix epoch. */
  readonly lastAt: number
}

export interface Rehearsal {
  /** All recorded requests. */
  readonly requests: number
  /** Requests that were served but would have been refused. */
  readonly wouldBeRefused: number
  /** Requests in the switch's scope that were refused for another reason. */
  readonly refusedAnyway: number
  /**
   * Requests counted without a caller, because there were too many different ones. The switch may
   * or may not cover them.
   */
  readonly notToldApart: number
  readonly principals: readonly Refused[]
  readonly services: readonly Refused[]
  readonly accounts: readonly Refused[]
  /** Each name has the form KEY_STORE/KEY_ID. */
  readonly keys: readonly Refused[]
  readonly kmsOperations: readonly Refused[]
}

/** Number of activities that are handled in one turn of the event loop. */
const PER_TURN = 200

export async function rehearse(activities: readonly Activity[], judge: Judge): Promise<Rehearsal> {
  const answered: Activity[] = []
  let [hits, unknown] = [0, 0]
  await forEachInSlices(activities, PER_TURN, (one) => {
    const { subject, requests } = one
    if (judge(toRequestSubject(subject)) === undefined) {
      if (subject.isOverflow) unknown += requests
      return
    }
    hits += requests
    if (subject.outcome === SUCCESS) answered.push(one)
  })
  const wouldBeRefused = sum(answered)
  return {
    requests: sum(activities),
    ...{ wouldBeRefused, refusedAnyway: hits - wouldBeRefused, notToldApart: unknown },
    principals: await groupBy(answered, ({ principal }) => principal),
    services: await groupBy(answered, ({ viaService }) => viaService),
    accounts: await groupBy(answered, ({ principal, kmsKeyArn }) =>
      accountOf(principal, kmsKeyArn),
    ),
    keys: await groupBy(answered, ({ keyStore, keyId }) => keyId && `${keyStore}/${keyId}`),
    kmsOperations: await groupBy(answered, ({ kmsOperation }) => kmsOperation),
  }
}

/** Returns the request in the form in which the gate checks it. */
export function toRequestSubject(subject: UsageKey): RequestSubject {
  const { keyStore, keyId, operation, principal, vpc, vpce, kmsKeyArn, viaService } = subject
  return {
    keyStore,
    // Only valid operations are recorded.
    operation: operation as Operation,
    ...(keyId === undefined ? {} : { keyId }),
    metadata: {
      ...(principal === undefined ? {} : { awsPrincipalArn: principal }),
      ...(vpc === undefined ? {} : { awsSourceVpc: vpc }),
      ...(vpce === undefined ? {} : { awsSourceVpce: vpce }),
      ...(kmsKeyArn === undefined ? {} : { kmsKeyArn }),
      ...(viaService === undefined ? {} : { kmsViaService: viaService }),
    },
  }
}

/**
 * Returns the caller's account. A service acting for itself has none, so the key owner's account is
 * used instead.
 */
export function accountOf(...arns: readonly (string | undefined)[]): string | undefined {
  for (const arn of arns) {
    const account = arn?.split(':')[4]
    if (account !== undefined && account !== '') return account
  }
  return undefined
}

export function sum(activities: readonly Activity[]): number {
  return activities.reduce((total, { requests }) => total + requests, 0)
}

async function groupBy(
  activities: readonly Activity[],
  nameOf: (subject: UsageKey) => string | undefined,
): Promise<readonly Refused[]> {
  const groups = new Map<string, { name: string; requests: number; lastAt: number }>()
  await forEachInSlices(activities, PER_TURN, ({ subject, requests, lastAt }) => {
    const name = subject.isOverflow ? '(unnamed)' : (nameOf(subject) ?? '-')
    const group = groups.get(name) ?? { name, requests: 0, lastAt: 0 }
    group.requests += requests
    group.lastAt = Math.max(group.lastAt, lastAt)
    groups.set(name, group)
  })
  return sortInSlices(
    [...groups.values()],
    (a, b) => b.requests - a.requests || (a.name < b.name ? -1 : 1),
  )
}
