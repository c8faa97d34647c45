/** Writes a proof that a log contains an entry; the proof can be verified without the log. */
// SPDX-License-Identifier: Apache-2.0
import { checkEvidence, encodeEvidence } from '../../core/tlog/evidence.ts'
import type { OpenedCheckpoint } from '../../core/tlog/checkpoint.ts'
import { proveInclusion } from '../../core/tlog/merkle.ts'
import type { NoteKey } from '../../core/tlog/note.ts'
import { AuditError } from '../errors.ts'
import { type AuditEntry, decodeEntry } from '../record.ts'
import { readCertificate } from '../writer/log-folder.ts'
import { type OpenedLog, openNodes } from './log-reader.ts'

/** Returns a self-contained proof of an entry, including the entry and the log's certificate. */
export async function proveEntry(log: OpenedLog, index: number, entry: Buffer): Promise<string> {
  const { folder, checkpoint, signedCheckpoint } = log
  const hashes = proveInclusion(openNodes(folder, checkpoint.size), index, checkpoint.size)
  const certificate = await readCertificate(folder)
  return encodeEvidence({ certificate, entry, index, hashes, checkpoint: signedCheckpoint })
}

export interface CheckedProof {
  readonly entry: AuditEntry
  readonly index: number
  readonly checkpoint: OpenedCheckpoint
}

/**
 * Checks a proof offline.
 * @param publicKey the store's public key, as printed by `latchkey receipt key`
 * @throws AuditError AUDIT_INVALID
 */
export function checkProof(
  text: string,
  publicKey: string,
  witnesses: readonly NoteKey[] = [],
): CheckedProof {
  const checked = checkEvidence(text, publicKey, witnesses)
  if (typeof checked === 'string') throw new AuditError('AUDIT_INVALID', checked)
  const entry = decodeEntry(checked.entry)
  if (entry === undefined) {
    throw new AuditError('AUDIT_INVALID', 'the entry in the proof is not canonical JSON')
  }
  return { entry, index: checked.index, checkpoint: checked.checkpoint }
}
