/** Whether a token takes work: open when nothing has worked for as long as an operation may wait. */
// SPDX-License-Identifier: Apache-2.0
import type { WireFailure } from '../wire/errors.ts'
import type { PoolOptions } from './options.ts'

export type CircuitState = 'closed' | 'open' | 'half-open'

export class Circuit {
  readonly #options: PoolOptions
  readonly #onOpen: () => void
  #isOpen = false
  /** A PIN that was refused is not tried again. */
  #isLocked = false
  #unusableSince: number | undefined
  #refusal: WireFailure | undefined

  /** @param onOpen whoever waits is to be told */
  constructor(options: PoolOptions, onOpen: () => void) {
    this.#options = options
    this.#onOpen = onOpen
  }

  get isLocked(): boolean {
    return this.#isLocked
  }

  /** What is said while it is open: the last failure. */
  get refusal(): WireFailure | undefined {
    return this.#refusal
  }

  /** @param isUsable whether a process can take work now */
  state(isUsable: boolean): CircuitState {
    if (this.#isLocked || this.#isOpen) return 'open'
    return isUsable ? 'closed' : 'half-open'
  }

  blame(failure: WireFailure): void {
    if (!this.#isLocked) this.#refusal = failure
  }

  /** To be called again and again. */
  watch(isUsable: boolean, now: number): void {
    if (this.#isOpen || this.#isLocked) return
    if (isUsable) {
      this.#unusableSince = undefined
      return
    }
    this.#unusableSince ??= now
    if (now - this.#unusableSince < this.#options.config.deadlines.operationMs) return
    this.#isOpen = true
    this.#refusal ??= { code: 'UNAVAILABLE', message: 'the token cannot be used now' }
    this.#options.logger.warn('a token cannot be used: requests are refused', {
      ...nameToken(this.#options),
      detail: this.#refusal.message,
    })
    this.#onOpen()
  }

  /** Something worked. */
  close(): void {
    if (this.#isLocked) return
    this.#unusableSince = undefined
    if (this.#isOpen)
      this.#options.logger.info('a token can be used again', nameToken(this.#options))
    this.#isOpen = false
  }

  lock(failure: WireFailure): void {
    if (this.#isLocked) return
    this.#isLocked = true
    this.#refusal = { code: 'UNAVAILABLE', message: `${failure.message}; it is not tried again` }
    this.#options.logger.warn('a token refused its PIN: it is not tried again until a restart', {
      ...nameToken(this.#options),
      detail: failure.message,
    })
    this.#onOpen()
  }
}

/** For the log. */
export function nameToken({ config, token: { label, serial, slot } }: PoolOptions) {
  return { backend: config.name, token: label ?? serial ?? `slot ${String(slot)}` }
}
