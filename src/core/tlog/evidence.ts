/**
 * A self-contained proof of one entry (c2sp.org/tlog-proof). Its extra data holds the entry, and
 * the certificate with which the store vouches for the key of the log.
 */
// SPDX-License-Identifier: Apache-2.0
import { type Json, type Signed, toCanonicalJson, verifySigned } from '../signature.ts'
import {
  encodeProof,
  type EntryProof,
  type OpenedCheckpoint,
  parseProof,
  verifyProof,
} from './checkpoint.ts'
import { type NoteKey, parseVerifierKey } from './note.ts'

/** The statement with which a store vouches for the key of a log. */
export interface LogCertificate {
  /**
   * The control log holds the events of the store; an audit log holds the requests of one process.
   */
  readonly kind: 'audit log' | 'control log'
  readonly storeId: string
  readonly origin: string
  readonly verifierKey: string
}

export interface Evidence extends Omit<EntryProof, 'extra'> {
  readonly certificate: Signed<LogCertificate>
  readonly entry: Buffer
}

export function encodeEvidence({ certificate, entry, ...proof }: Evidence): string {
  const extra = toCanonicalJson({
    certificate: certificate as unknown as Json,
    entry: entry.toString('utf8'),
  })
  return encodeProof({ ...proof, extra: Buffer.from(extra) })
}

export interface CheckedEvidence {
  readonly certificate: LogCertificate
  readonly entry: Buffer
  readonly index: number
  readonly checkpoint: OpenedCheckpoint
}

/**
 * Checks a proof offline. Returns the reason as text if the proof is invalid.
 * @param publicKey public key of the store, as `latchkey receipt key` prints it
 * @param witnesses witnesses whose cosignatures count
 */
export function checkEvidence(
  text: string,
  publicKey: string,
  witnesses: readonly NoteKey[] = [],
): CheckedEvidence | string {
  const proof = parseProof(text)
  if (proof?.extra === undefined) return 'the text is not a proof written by Latchkey'
  const extra = parseExtra(proof.extra)
  if (extra === undefined)
    return 'expected an entry and a certificate in the extra data of the proof'
  const { certificate, entry } = extra
  if (!verifySigned(certificate, publicKey, 'audit')) {
    return 'the certificate of the log is not signed by this key'
  }
  const { verifierKey, origin } = certificate.statement
  const key = parseVerifierKey(verifierKey)
  const checkpoint = key?.name === origin ? verifyProof(proof, entry, key, witnesses) : undefined
  if (checkpoint === undefined) {
    return 'the proof does not connect the entry to a checkpoint signed by the log'
  }
  return { certificate: certificate.statement, entry, index: proof.index, checkpoint }
}

/** Returns the entry of a proof without checking the proof. */
export function readEvidenceEntry(text: string): Buffer | undefined {
  const extra = parseProof(text)?.extra
  return extra && parseExtra(extra)?.entry
}

function parseExtra(extra: Buffer): Pick<Evidence, 'certificate' | 'entry'> | undefined {
  try {
    const { certificate, entry } = JSON.parse(extra.toString('utf8')) as {
      readonly certificate: Signed<LogCertificate>
      readonly entry: unknown
    }
    const isWhole = typeof certificate.statement.verifierKey === 'string'
    return isWhole && typeof entry === 'string'
      ? { certificate, entry: Buffer.from(entry) }
      : undefined
  } catch {
    return undefined
  }
}
