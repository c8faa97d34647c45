/** The problems that verification can find. */
// SPDX-License-Identifier: Apache-2.0

export type ProblemKind =
  /** The certificate or the checkpoint is missing, or not signed by the expected key. */
  | 'signature'
  /** A file is missing or too short. */
  | 'file'
  /** An entry does not match its hash. */
  | 'entry'
  /** A hash does not match the entries below it. */
  | 'hash'
  /** The entries, or the hashes that remain of pruned ones, do not produce the signed root. */
  | 'root'
  /** An entry is not in canonical form or not in a valid position. */
  | 'form'
  /** The log is shorter than it once was. */
  | 'rolled-back'
  /** The log does not continue the known history. */
  | 'forked'
  /** A log recorded in the store is missing. */
  | 'missing'
  /** The store certified the log's key, but the control log has no record of the log. */
  | 'unknown'
  /** Too few witnesses cosigned the checkpoint. */
  | 'witness'

export interface Problem {
  readonly kind: ProblemKind
  readonly message: string
  /** File path, relative to the log's folder. */
  readonly path?: string
  /** Index of the first affected entry. */
  readonly index?: number
}
