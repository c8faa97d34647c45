/** Finds entries of a request and proves that a log has them. */
// SPDX-License-Identifier: Apache-2.0
import { AuditError } from '../errors.ts'
import { encodeProof } from '../log/checkpoint.ts'
import { proveInclusion } from '../log/merkle.ts'
import { type IndexedEntry, type OpenedLog, openNodes, readEntries } from './log-reader.ts'

export interface ProvenEntry extends IndexedEntry {
  /** In the form of c2sp.org/tlog-proof, with the entry as its extra data. */
  readonly proof: string
}

/**
 * Returns the entries of a log that hold a text and pass a test, each with its proof.
 * @param text occurs in the bytes of each entry, so that most need not be parsed
 */
export function proveEntries(
  log: OpenedLog,
  text: string,
  matches: (bytes: Buffer) => boolean,
): readonly ProvenEntry[] {
  const { folder, checkpoint, signedCheckpoint } = log
  const node = openNodes(folder, checkpoint.size)
  const proven: ProvenEntry[] = []
  for (const { index, bytes } of readEntries(folder, checkpoint.size)) {
    if (!bytes.includes(text) || !matches(bytes)) continue
    const hashes = proveInclusion(node, index, checkpoint.size)
    const proof = { index, hashes, extra: bytes, checkpoint: signedCheckpoint }
    proven.push({ index, bytes, proof: encodeProof(proof) })
  }
  return proven
}

/** @throws AuditError AUDIT_NOT_FOUND */
export function requireFound<T>(found: readonly T[], what: string): readonly T[] {
  if (found.length > 0) return found
  throw new AuditError('AUDIT_NOT_FOUND', `no log has an entry of ${what}`, {
    hint: 'an entry is in a checkpoint within audit.checkpointInterval',
  })
}
