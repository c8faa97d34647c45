/** Logs each outage of the poller once: with four polls a second, one line per poll would flood the log. */
// SPDX-License-Identifier: Apache-2.0
import type { Logger } from '../../core/logger.ts'
import { StorageError } from '../../store/database.ts'

/** The part that fails: the control store, or the file of the high-water mark. */
type Kind = 'store' | 'mark'

export function createOutageLog(logger: Logger) {
  let current: Kind | undefined

  function warnOf(kind: Kind, err: unknown): void {
    if (kind === 'store') logger.warn('cannot read the control store', { err })
    else logger.warn('cannot write the high-water file; refusing all requests', { err })
  }

  return {
    report(kind: Kind, error: unknown): void {
      if (current !== kind) warnOf(kind, error)
      current = kind
    },
    end(epoch: number): void {
      if (current === 'store') logger.warn('the control store is readable again', { epoch })
      if (current === 'mark') logger.warn('the high-water file is writable again', { epoch })
      current = undefined
    },
  }
}

/** Reports whether the store is no longer trustworthy, as opposed to an outage, which may pass. */
export function isLoss(error: unknown): boolean {
  if (!(error instanceof StorageError)) return false
  return ['STORE_REPLACED', 'STORE_TAMPERED', 'STORE_CORRUPT', 'STORE_MISSING'].includes(error.code)
}
