/** Proves that a log has an entry, in one file that can be checked without the log. */
// SPDX-License-Identifier: Apache-2.0
import { type Json, type Signed, toCanonicalJson, verifySigned } from '../../core/signature.ts'
import { AuditError } from '../errors.ts'
import { encodeProof, type OpenedCheckpoint, parseProof, verifyProof } from '../log/checkpoint.ts'
import { proveInclusion } from '../log/merkle.ts'
import { parseVerifierKey } from '../log/note.ts'
import { type AuditEntry, decodeEntry } from '../record.ts'
import { type LogCertificate, readCertificate } from '../writer/log-folder.ts'
import { type OpenedLog, openNodes } from './log-reader.ts'

/** The extra data of a proof: with it, the public key of the store is all that a check needs. */
interface ProofExtra {
  readonly certificate: Signed<LogCertificate>
  readonly entry: string
}

/** Returns a c2sp.org/tlog-proof of an entry. Its extra data are the entry and the certificate of the log. */
export async function proveEntry(log: OpenedLog, index: number, entry: Buffer): Promise<string> {
  const { folder, checkpoint, signedCheckpoint } = log
  const hashes = proveInclusion(openNodes(folder, checkpoint.size), index, checkpoint.size)
  const certificate = await readCertificate(folder)
  const extra = toCanonicalJson({
    certificate: certificate as unknown as Json,
    entry: entry.toString('utf8'),
  })
  return encodeProof({ index, hashes, extra: Buffer.from(extra), checkpoint: signedCheckpoint })
}

export interface CheckedProof {
  readonly entry: AuditEntry
  readonly index: number
  readonly checkpoint: OpenedCheckpoint
}

/**
 * Checks a proof offline.
 * @param publicKey public key of the store, as `latchkey receipt key` prints it
 * @throws AuditError AUDIT_INVALID
 */
export function checkProof(text: string, publicKey: string): CheckedProof {
  const proof = parseProof(text)
  if (proof?.extra === undefined) throw invalid('the file is not a proof of `latchkey audit prove`')
  const { certificate, entry } = parseExtra(proof.extra)
  if (!verifySigned(certificate, publicKey, 'audit')) {
    throw invalid('the certificate of the log is not signed by this key')
  }
  const { verifierKey, origin } = certificate.statement
  const key = parseVerifierKey(verifierKey)
  const bytes = Buffer.from(entry)
  const checkpoint = key?.name === origin ? verifyProof(proof, bytes, key) : undefined
  const decoded = decodeEntry(bytes)
  if (checkpoint === undefined || decoded === undefined) {
    throw invalid('the proof does not lead from the entry to a checkpoint that the log signed')
  }
  return { entry: decoded, index: proof.index, checkpoint }
}

function parseExtra(extra: Buffer): ProofExtra {
  try {
    const value = JSON.parse(extra.toString('utf8')) as ProofExtra
    if (
      typeof value.entry === 'string' &&
      typeof value.certificate.statement.verifierKey === 'string'
    ) {
      return value
    }
  } catch {
    // The error below says what is wrong.
  }
  throw invalid('the extra data of the proof are not an entry and a certificate')
}

function invalid(message: string): AuditError {
  return new AuditError('AUDIT_INVALID', message)
}
