/** Messages between the event loop and an audit log's thread. */
// SPDX-License-Identifier: Apache-2.0

export interface AuditThreadData {
  /** Directory of the log. It must already exist. */
  readonly folder: string
  readonly origin: string
  /** The log's private key, 32 bytes. */
  readonly seed: Uint8Array
  readonly checkpointMs: number
}

export type ToThread =
  | {
      readonly kind: 'append'
      /** Sequence number of the batch. */
      readonly ticket: number
      /**
       * Entries encoded as in a bundle, in shared memory that does not change until the response.
       */
      readonly bytes: Uint8Array
      readonly count: number
    }
  | {
      readonly kind: 'close'
      /** True if the last entry is lost, so that no entry in the log counts the entries before it. */
      readonly endsInGap: boolean
    }

export interface PublishedHead {
  readonly size: number
  /** Base64. */
  readonly root: string
}

export type FromThread =
  /** All batches up to this ticket are on disk, except those that were refused. */
  | { readonly kind: 'durable'; readonly upTo: number }
  | { readonly kind: 'refused'; readonly from: number; readonly upTo: number; readonly why: string }
  | ({ readonly kind: 'published' } & PublishedHead)
  /** The checkpoint or the tiles could not be written; the thread tries again. */
  | { readonly kind: 'unpublished'; readonly why: string }
  | ({ readonly kind: 'closed' } & PublishedHead)
