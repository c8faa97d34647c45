/**
 * Opens the circuit if no request has succeeded for as long as a request may wait. An open circuit
 * rejects requests.
 */
// SPDX-License-Identifier: Apache-2.0
import type { TokenFacts } from '../wire/calls.ts'
import type { WireFailure } from '../wire/errors.ts'
import type { CircuitState, PoolOptions } from './options.ts'

export class Circuit {
  readonly #options: PoolOptions
  readonly #onOpen: () => void
  #isOpen = false
  /** Set when the token refused the PIN. A refused PIN is not retried. */
  #isLocked = false
  #unusableSince: number | undefined
  #refusal: WireFailure | undefined

  /** @param onOpen called when the circuit opens, to reject waiting requests */
  constructor(options: PoolOptions, onOpen: () => void) {
    this.#options = options
    this.#onOpen = onOpen
  }

  get isLocked(): boolean {
    return this.#isLocked
  }

  /** The last failure, which is reported while the circuit is open. */
  get refusal(): WireFailure | undefined {
    return this.#refusal
  }

  /** @param isUsable whether a worker can take a request now */
  state(isUsable: boolean): CircuitState {
    if (this.#isLocked || this.#isOpen) return 'open'
    return isUsable ? 'closed' : 'half-open'
  }

  blame(failure: WireFailure): void {
    if (!this.#isLocked) this.#refusal = failure
  }

  /** Must be called periodically. */
  watch(isUsable: boolean, now: number): void {
    if (this.#isOpen || this.#isLocked) return
    if (isUsable) {
      this.#unusableSince = undefined
      return
    }
    this.#unusableSince ??= now
    if (now - this.#unusableSince < this.#options.config.deadlines.operationMs) return
    this.#isOpen = true
    this.#refusal ??= { code: 'UNAVAILABLE', message: 'the token is unavailable' }
    this.#options.logger.warn('a token is unusable; refusing its requests', {
      ...nameToken(this.#options),
      detail: this.#refusal.message,
    })
    this.#onOpen()
  }

  /** A call succeeded: close the circuit. */
  close(): void {
    if (this.#isLocked) return
    this.#unusableSince = undefined
    if (this.#isOpen) this.#options.logger.info('a token is usable again', nameToken(this.#options))
    this.#isOpen = false
  }

  /** Allows one attempt with a new PIN. */
  unlock(): void {
    this.#isLocked = false
    this.#isOpen = true
  }

  lock(failure: WireFailure): void {
    if (this.#isLocked) return
    this.#isLocked = true
    this.#refusal = {
      code: 'UNAVAILABLE',
      message: `${failure.message}; waiting for a different PIN`,
    }
    this.#options.logger.warn('a token refused its PIN; waiting for a different PIN', {
      ...nameToken(this.#options),
      detail: failure.message,
    })
    this.#onOpen()
  }
}

/** Identifies the token in log fields. */
export function nameToken({ config, token: { label, serial, slot } }: PoolOptions) {
  return { backend: config.name, token: label ?? serial ?? `slot ${String(slot)}` }
}

/** Logs why the token's workers do not use Latchkey's add-on, if they do not. */
export function reportAddOn(options: PoolOptions, facts: TokenFacts | undefined): void {
  const reason = facts?.withoutAddOn
  if (reason === undefined) return
  const message = 'calling the PKCS#11 module through pkcs11js, which takes more processor time'
  options.logger.info(message, { ...nameToken(options), reason })
}
