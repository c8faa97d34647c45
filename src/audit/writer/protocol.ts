/** Messages between the event loop and the thread of an audit log. */
// SPDX-License-Identifier: Apache-2.0

export interface AuditThreadData {
  /** Existing folder of this log. */
  readonly folder: string
  readonly origin: string
  /** Private key of the log, 32 bytes. */
  readonly seed: Uint8Array
  readonly checkpointMs: number
}

export type ToThread =
  /** `ticket` numbers the batches. */
  | { readonly kind: 'append'; readonly ticket: number; readonly entries: readonly string[] }
  | { readonly kind: 'close' }

export interface PublishedHead {
  readonly size: number
  /** Base64. */
  readonly root: string
}

export type FromThread =
  | { readonly kind: 'ready' }
  /** All batches up to this ticket are on disk, except those that were refused. */
  | { readonly kind: 'durable'; readonly upTo: number }
  | { readonly kind: 'refused'; readonly from: number; readonly upTo: number; readonly why: string }
  | ({ readonly kind: 'published' } & PublishedHead)
  /** The checkpoint or the tiles could not be written; the thread tries again. */
  | { readonly kind: 'unpublished'; readonly why: string }
  | ({ readonly kind: 'closed' } & PublishedHead)
