/** Describes keys on a token for `latchkey keys`, from what is on the token and what the store records. */
// SPDX-License-Identifier: Apache-2.0
import type { ExternalKeyId } from '../../core/ids.ts'
import type { KeyProblem, KeyStatus, KeySummary } from '../administration.ts'
import type { KeyDates } from '../key-dates.ts'
import { isSameKey, type TokenKeyRow } from './token-key-table.ts'
import type { TokenKey } from './wire/calls.ts'

/** Records of the keys of one key store, by key id. */
export interface Recorded {
  readonly dateFields: (keyId: ExternalKeyId) => Pick<KeySummary, keyof KeyDates | 'dateState'>
  readonly statuses: ReadonlyMap<string, KeyStatus>
  readonly versions: ReadonlyMap<string, readonly TokenKeyRow[]>
  /**
   * Returns the number of encryptions reserved so far; undefined if encryptions are not counted.
   */
  readonly encryptions: (keyId: ExternalKeyId, version: number) => number | undefined
}

export function toSummary(
  keyId: ExternalKeyId,
  unordered: readonly TokenKey[],
  recorded: Recorded,
): KeySummary {
  const versions = [...unordered].sort((a, b) => a.version - b.version)
  const current = versions.at(-1)
  const problem =
    versions.find((one) => one.problem !== undefined)?.problem ??
    findReplaced(versions, recorded.versions.get(keyId) ?? [])
  return {
    keyId,
    status: recorded.statuses.get(keyId) ?? 'ENABLED',
    canEncrypt: current?.canEncrypt === true,
    canDecrypt: current?.canDecrypt === true,
    createdAt: undefined,
    ...recorded.dateFields(keyId),
    ...(problem === undefined ? {} : { problem }),
    versions: versions.map((one) => ({
      version: one.version,
      state: one === current ? 'CURRENT' : 'PREVIOUS',
      createdAt: undefined,
      encryptions: recorded.encryptions(keyId, one.version),
      token: { label: one.label, id: one.id, isExtractable: one.isExtractable },
    })),
  }
}

function findReplaced(
  versions: readonly TokenKey[],
  recorded: readonly TokenKeyRow[],
): KeyProblem | undefined {
  for (const { version, check, seenAt } of recorded) {
    const found = versions.find((one) => one.version === version)
    if (found !== undefined && isSameKey(check, found.check)) continue
    // An older version may be missing because another tool destroyed it, but the newest must be
    // present.
    if (found === undefined && version < (versions.at(-1)?.version ?? 0)) continue
    const what = found === undefined ? 'is no longer on the token' : 'is no longer the same key'
    const since = new Date(seenAt).toISOString()
    const reason = `version ${String(version)} ${what} (recorded at ${since}); run latchkey keys trust to accept the change`
    return { kind: 'REPLACED', reason }
  }
  return undefined
}
