/** Checkpoints (c2sp.org/tlog-checkpoint) and proofs of single entries (c2sp.org/tlog-proof). */
// SPDX-License-Identifier: Apache-2.0
import { parseBase64 } from '../base64.ts'
import { HASH_BYTES, hashLeaf, rootFromInclusion, type TreeHead } from './merkle.ts'
import { type NoteKey, type NoteSigner, parseNote, verifyNote } from './note.ts'

export interface Checkpoint extends TreeHead {
  readonly origin: string
}

export function encodeCheckpoint({ origin, size, root }: Checkpoint): string {
  return `${origin}\n${String(size)}\n${root.toString('base64')}\n`
}

/** Returns the checkpoint as a signed note. */
export function signCheckpoint(head: TreeHead, signer: NoteSigner): string {
  const text = encodeCheckpoint({ origin: signer.name, ...head })
  return `${text}\n${signer.sign(text)}`
}

/** Returns undefined if the text is not a checkpoint. Extension lines are allowed and ignored. */
export function parseCheckpoint(text: string): Checkpoint | undefined {
  const [origin = '', size = '', root = '', ...rest] = text.split('\n')
  const bytes = parseBase64(root)
  const isWhole = rest.pop() === '' && !rest.includes('')
  if (origin === '' || bytes?.length !== HASH_BYTES || !isWhole) return undefined
  const count = parseDecimal(size)
  return count === undefined ? undefined : { origin, size: count, root: bytes }
}

/** Parses a decimal number without a sign or leading zeros, up to 2^53 - 1. */
export function parseDecimal(text: string): number | undefined {
  const value = Number(text)
  return /^(?:0|[1-9]\d*)$/.test(text) && Number.isSafeInteger(value) ? value : undefined
}

export interface OpenedCheckpoint extends Checkpoint {
  /** The witnesses, among those given, that cosigned the checkpoint. */
  readonly witnesses: readonly NoteKey[]
}

/**
 * Returns the checkpoint in a note that the log signed; undefined if the signature or the format is
 * wrong.
 */
export function openCheckpoint(
  signed: string,
  log: NoteKey,
  witnesses: readonly NoteKey[] = [],
): OpenedCheckpoint | undefined {
  const note = parseNote(signed)
  const head = note && parseCheckpoint(note.text)
  const signers = note && verifyNote(note, [log, ...witnesses])
  if (head === undefined || signers?.includes(log) !== true || head.origin !== log.name) {
    return undefined
  }
  return { ...head, witnesses: signers.filter((one) => one !== log) }
}

const PROOF_HEAD = 'c2sp.org/tlog-proof@v1'

export interface EntryProof {
  readonly index: number
  readonly hashes: readonly Buffer[]
  /** The checkpoint as a signed note. */
  readonly checkpoint: string
  /** Extra data, not authenticated. Latchkey stores the entry here, so that a proof needs no second file. */
  readonly extra?: Buffer | undefined
}

export function encodeProof({ index, hashes, checkpoint, extra }: EntryProof): string {
  const lines = [
    PROOF_HEAD,
    ...(extra === undefined ? [] : [`extra ${extra.toString('base64')}`]),
    `index ${String(index)}`,
    ...hashes.map((one) => one.toString('base64')),
  ]
  return `${lines.join('\n')}\n\n${checkpoint}`
}

/** Returns undefined if the text is not a proof. */
export function parseProof(text: string): EntryProof | undefined {
  const end = text.indexOf('\n\n')
  if (end < 0) return undefined
  const lines = text.slice(0, end).split('\n')
  if (lines.shift() !== PROOF_HEAD) return undefined
  const extra = lines[0]?.startsWith('extra ') === true ? lines.shift()?.slice(6) : undefined
  const extraBytes = extra === undefined ? undefined : parseBase64(extra)
  const index = parseDecimal(/^index (\d+)$/.exec(lines.shift() ?? '')?.[1] ?? '')
  const hashes = lines.map((line) => parseBase64(line))
  if (index === undefined || (extra !== undefined && extraBytes === undefined)) return undefined
  if (!hashes.every((one): one is Buffer => one?.length === HASH_BYTES)) return undefined
  return { index, hashes, checkpoint: text.slice(end + 2), extra: extraBytes }
}

/** Returns the checkpoint that contains the entry; undefined if the proof is invalid. */
export function verifyProof(
  proof: EntryProof,
  entry: Buffer,
  log: NoteKey,
  witnesses: readonly NoteKey[] = [],
): OpenedCheckpoint | undefined {
  const head = openCheckpoint(proof.checkpoint, log, witnesses)
  if (head === undefined) return undefined
  const root = rootFromInclusion(hashLeaf(entry), proof.index, head.size, proof.hashes)
  return root?.equals(head.root) === true ? head : undefined
}
