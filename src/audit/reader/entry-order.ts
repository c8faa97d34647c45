/** Checks the form and order of a log's entries. */
// SPDX-License-Identifier: Apache-2.0
import { type AuditEntry, decodeEntry } from '../record.ts'
import type { Problem } from './problem.ts'

export interface OrderSummary {
  /** Number of request entries. */
  readonly requests: number
  /** Number of entries that the process could not write, as derived from gaps in the numbering. */
  readonly lost: number
  readonly firstTime: string | undefined
  readonly lastTime: string | undefined
}

/** Tracks entry numbers. A gap shows that entries were lost before they reached the log. */
export class EntryOrder {
  readonly #isControl: boolean
  readonly #report: (problem: Problem) => void
  /**
   * Expected number of the next entry; undefined after pruned entries, whose numbers are unknown.
   */
  #next: number | undefined = 0
  #last: AuditEntry | undefined
  #requests = 0
  #lost = 0
  #firstTime: string | undefined
  #lastTime: string | undefined

  constructor(isControl: boolean, report: (problem: Problem) => void) {
    this.#isControl = isControl
    this.#report = report
  }

  get summary(): OrderSummary {
    return {
      ...{ requests: this.#requests, lost: this.#lost },
      ...{ firstTime: this.#firstTime, lastTime: this.#lastTime },
    }
  }

  /** Forgets which number comes next. Call when entries were pruned. */
  skip(): void {
    this.#next = undefined
  }

  take(index: number, bytes: Buffer): void {
    const entry = decodeEntry(bytes)
    if (entry === undefined) {
      this.#report({ kind: 'form', message: 'expected an entry in canonical JSON', index })
      return
    }
    if (this.#isControl) this.#takeEvent(index, entry)
    else this.#takeRequest(index, entry)
    this.#last = entry
    this.#firstTime ??= entry.time
    this.#lastTime = entry.time ?? this.#lastTime
  }

  /** A store's events are numbered without gaps. */
  #takeEvent(index: number, { kind, seq }: AuditEntry): void {
    if (kind === 'event' && seq === index + 1) return
    this.#report({
      kind: 'form',
      message: `expected event ${String(index + 1)}, found ${kind} ${String(seq ?? 'without a number')}`,
      index,
    })
  }

  #takeRequest(index: number, { kind, seq }: AuditEntry): void {
    if ((index === 0) !== (kind === 'start') || kind === 'event') {
      const message = `an entry of kind ${kind} must not appear at this position`
      this.#report({ kind: 'form', message, index })
    }
    if (this.#last?.kind === 'recovered' || this.#last?.kind === 'stop') {
      const isRecovery = this.#last.kind === 'stop' && kind === 'recovered'
      if (!isRecovery) this.#report({ kind: 'form', message: 'the log was already closed', index })
    }
    if (kind !== 'recovered') {
      const number = seq ?? -1
      const next = this.#next ?? number
      if (number < next)
        this.#report({
          kind: 'form',
          message: 'the request number of this entry was already used',
          index,
        })
      else this.#lost += number - next
      this.#next = Math.max(next, number + 1)
    }
    if (kind === 'request') this.#requests += 1
  }
}
