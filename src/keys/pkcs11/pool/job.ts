/** One operation on its way to a token, with the time that it has. */
// SPDX-License-Identifier: Apache-2.0
import type { Bagged } from '../../../core/bag.ts'
import type { Answer } from './worker-process.ts'
import type { Lane } from './worker.ts'

export interface Job extends Bagged {
  readonly kind: number
  /** Everything but the head, which says how much time is left. */
  readonly parts: readonly Buffer[]
  /** See protocol.ts. */
  readonly flags: number
  /** Monotonic milliseconds. */
  readonly queuedAt: number
  readonly endsAt: number
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: Error) => void
  attempts: number
  /** Where it is being carried out. */
  lane: Lane | undefined
  /** Nobody waits for it any more. */
  isOver: boolean
}

const MAX_BUDGET_MS = 0xffff

/** 2 bytes of milliseconds, 1 of flags, 1 unused. */
export function encodeHead(budgetMs: number, flags: number): Buffer {
  const head = Buffer.allocUnsafe(4)
  head.writeUInt16LE(Math.max(0, Math.min(MAX_BUDGET_MS, Math.round(budgetMs))), 0)
  head.writeUInt16LE(flags, 2)
  return head
}
