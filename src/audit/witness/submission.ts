/** A request for a witness's cosignature (c2sp.org/tlog-witness, add-checkpoint). */
// SPDX-License-Identifier: Apache-2.0
import { parseBase64 } from '../../core/base64.ts'
import { parseDecimal } from '../../core/tlog/checkpoint.ts'
import { HASH_BYTES } from '../../core/tlog/merkle.ts'

/** Media type of a 409 response. */
export const SIZE_TYPE = 'text/x.tlog.size'
/** Maximum number of hashes that the specification allows. */
const MAX_HASHES = 63

export interface Submission {
  /** Checkpoint size that the witness last cosigned; 0 if it has not cosigned this log. */
  readonly oldSize: number
  /** Consistency proof from `oldSize` to the checkpoint's size. */
  readonly hashes: readonly Buffer[]
  /** The checkpoint as a signed note. */
  readonly checkpoint: string
}

export function encodeSubmission({ oldSize, hashes, checkpoint }: Submission): string {
  const lines = [`old ${String(oldSize)}`, ...hashes.map((one) => one.toString('base64'))]
  return `${lines.join('\n')}\n\n${checkpoint}`
}

/** Returns undefined if the text is not a submission. */
export function parseSubmission(text: string): Submission | undefined {
  const end = text.indexOf('\n\n')
  if (end < 0) return undefined
  const [first = '', ...lines] = text.slice(0, end).split('\n')
  const oldSize = parseDecimal(/^old (\d+)$/.exec(first)?.[1] ?? '')
  const hashes = lines.map((line) => parseBase64(line))
  if (oldSize === undefined || hashes.length > MAX_HASHES) return undefined
  if (!hashes.every((one): one is Buffer => one?.length === HASH_BYTES)) return undefined
  return { oldSize, hashes, checkpoint: text.slice(end + 2) }
}
