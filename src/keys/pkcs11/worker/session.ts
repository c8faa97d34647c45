/** Keeps one session on a token: logs in, runs calls, and recovers from failures. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../../core/clock.ts'
import type { StartCall, TokenFacts } from '../wire/calls.ts'
import {
  CkrFailure,
  WorkerFailure,
  toWire,
  type Direction,
  type WireFailure,
} from '../wire/errors.ts'
import { finalize, initialize, invoke, type Handle, type Pkcs11Module } from './module.ts'
import { findToken } from './token-search.ts'

const CKR_USER_ALREADY_LOGGED_IN = 'CKR_USER_ALREADY_LOGGED_IN'
const CKS_RW_USER_FUNCTIONS = 3
const CKS_RO_USER_FUNCTIONS = 1
/** Token flag that is set when one more wrong PIN will lock the token. */
const CKF_USER_PIN_FINAL_TRY = 0x2_0000
const CKF_USER_PIN_LOCKED = 0x4_0000
/**
 * Minimum time between reinitializations, in milliseconds, because each one delays other requests.
 */
const REINITIALIZE_EVERY_MS = 200
/**
 * Maximum number of attempts. After the first failure, the key is searched for again or the session
 * logs in again; after the second, the module is reinitialized; after the third, the call fails.
 */
const MAX_ATTEMPTS = 3
/**
 * Maximum number of attempts after transient device errors. The deadline usually ends the attempts
 * earlier.
 */
const MAX_RETRIES = 20
/** Number of failed retries after which the module is reinitialized. */
const REINITIALIZE_AFTER_RETRIES = 5

export interface Recovery {
  /** Called after a login, since older handles may now refer to other keys. */
  readonly onLogin: () => void
  /** Called when the token does not know the handle that `work` used. */
  readonly onStaleHandle: () => void
  /** Encrypts and decrypts with the health key on a new session; throws on failure. */
  readonly probe: (session: Handle) => void
}

export class TokenSession {
  readonly #module: Pkcs11Module
  readonly #start: StartCall
  readonly #clock: Clock
  readonly #recovery: Recovery
  #isInitialized = false
  #slot: Handle | undefined
  #session: Handle | undefined
  /** The previous session, closed once its successor is open: closing the last session would end the login. */
  #stale: Handle | undefined
  #refused: WireFailure | undefined
  #reinitializedAt = -Infinity

  constructor(module: Pkcs11Module, start: StartCall, clock: Clock, recovery: Recovery) {
    this.#module = module
    this.#start = start
    this.#clock = clock
    this.#recovery = recovery
  }

  /**
   * Runs `work` on a working session. Failures that the table in ckr.ts marks as retryable are
   * retried while there is time. Every failed call replaces the session.
   * @param endsAt deadline in monotonic milliseconds
   */
  run<T>(direction: Direction, endsAt: number, work: (session: Handle) => T): T {
    for (let attempt = 1; ; attempt++) {
      try {
        return work(this.#ensure())
      } catch (error) {
        if (!(error instanceof CkrFailure)) throw error
        this.#drop()
        if (this.#isBusy(error, direction)) throw new WorkerFailure('BUSY', error.message)
        const outcome = this.#recover(error, attempt)
        const most = error.row.recovery === 'retry' ? MAX_RETRIES : MAX_ATTEMPTS
        const isWorthwhile = attempt < most && this.#clock.monotonic() < endsAt
        if (outcome === 'again' && isWorthwhile) continue
        const wire = toWire(error, direction)
        if (outcome === 'stop') this.#refused = wire
        // A return code that blames the data or the key can be trusted only if the token works.
        throw new WorkerFailure(outcome === 'final' ? wire.code : 'UNAVAILABLE', wire.message, {
          recovery: error.row.recovery,
        })
      }
    }
  }

  facts(): TokenFacts {
    this.#ensure()
    return findToken(this.#module, this.#start.token).facts
  }

  slot(): Handle {
    this.#ensure()
    if (this.#slot === undefined) throw new TypeError('the session has no slot')
    return this.#slot
  }

  /**
   * Reports whether an error means that the HSM is busy: some HSMs return CKR_FUNCTION_FAILED when
   * they get too many requests. A decryption that verifies an encryption has the direction
   * `encrypt`.
   */
  #isBusy({ row }: CkrFailure, direction: Direction): boolean {
    const { functionFailedIsBusy } = this.#start
    return functionFailedIsBusy && direction === 'encrypt' && row.name === 'CKR_FUNCTION_FAILED'
  }

  /**
   * Returns `final` if the error's code can be passed on, `again` if the call should be retried,
   * `gone` if the token does not work, and `stop` if no further login may be attempted.
   */
  #recover(error: CkrFailure, attempt: number): 'final' | 'again' | 'gone' | 'stop' {
    const { recovery } = error.row
    if (recovery === 'drop' || recovery === 'stop') return recovery === 'stop' ? 'stop' : 'final'
    if (recovery === 'retry') {
      // Keeps the handles: only a login or a reinitialization can make them invalid.
      if (attempt % REINITIALIZE_AFTER_RETRIES === 0) this.#reinitialize()
      return 'again'
    }
    if (recovery === 'refind') this.#recovery.onStaleHandle()
    else if (recovery !== 'probe') this.#recovery.onLogin()
    if ((recovery === 'refind' || recovery === 'relogin') && attempt === 1) return 'again'
    if ((recovery === 'probe' || recovery === 'refind') && this.#answersProbe()) return 'final'
    return this.#reinitialize() ? 'again' : 'gone'
  }

  /** Tests whether the token works. If it does, the data caused the failure. */
  #answersProbe(): boolean {
    try {
      this.#recovery.probe(this.#ensure())
      return true
    } catch (error) {
      if (error instanceof CkrFailure) this.#drop()
      return false
    }
  }

  #reinitialize(): boolean {
    const now = this.#clock.monotonic()
    if (now - this.#reinitializedAt < REINITIALIZE_EVERY_MS) return false
    this.#reinitializedAt = now
    finalize(this.#module)
    this.#isInitialized = false
    this.#session = this.#stale = this.#slot = undefined
    this.#recovery.onLogin()
    return true
  }

  #drop(): void {
    if (this.#session === undefined) return
    this.#close(this.#stale)
    this.#stale = this.#session
    this.#session = undefined
  }

  #ensure(): Handle {
    if (this.#session !== undefined) return this.#session
    if (this.#refused !== undefined) {
      const { code, message } = this.#refused
      throw new WorkerFailure(code, `${message}; no further login is attempted`)
    }
    if (!this.#isInitialized) {
      initialize(this.#module)
      this.#isInitialized = true
    }
    this.#slot ??= findToken(this.#module, this.#start.token).slot
    const session = this.#openSession(this.#slot)
    this.#close(this.#stale)
    this.#stale = undefined
    try {
      this.#login(session, this.#slot)
    } catch (error) {
      this.#close(session)
      throw error
    }
    this.#session = session
    return session
  }

  #openSession(slot: Handle): Handle {
    const { cryptoki, constants: c } = this.#module
    const open = (flags: number) =>
      invoke('C_OpenSession', () => cryptoki.C_OpenSession(slot, flags | c.CKF_SERIAL_SESSION))
    try {
      return open(c.CKF_RW_SESSION)
    } catch (error) {
      if (!(error instanceof CkrFailure)) throw error
      if (error.row.name === 'CKR_TOKEN_WRITE_PROTECTED') return open(0)
      if (error.row.name !== 'CKR_SESSION_COUNT' || this.#stale === undefined) throw error
      this.#close(this.#stale)
      this.#stale = undefined
      return open(c.CKF_RW_SESSION)
    }
  }

  #login(session: Handle, slot: Handle): void {
    const { cryptoki, constants: c } = this.#module
    const { state } = invoke('C_GetSessionInfo', () => cryptoki.C_GetSessionInfo(session))
    if (state === CKS_RW_USER_FUNCTIONS || state === CKS_RO_USER_FUNCTIONS) return
    this.#recovery.onLogin()
    const { flags } = invoke('C_GetTokenInfo', () => cryptoki.C_GetTokenInfo(slot))
    if ((flags & (CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED)) !== 0) {
      throw new WorkerFailure(
        'MISCONFIGURED',
        'the token is locked, or one more wrong PIN would lock it',
        {
          hint: "to reset the counter, log in once with the correct PIN using the vendor's tools",
        },
      )
    }
    try {
      invoke('C_Login', () => {
        cryptoki.C_Login(session, c.CKU_USER, this.#start.pin)
      })
    } catch (error) {
      if (!(error instanceof CkrFailure)) throw error
      if (error.row.name !== CKR_USER_ALREADY_LOGGED_IN) throw error
    }
  }

  #close(session: Handle | undefined): void {
    if (session === undefined) return
    try {
      invoke('C_CloseSession', () => {
        this.#module.cryptoki.C_CloseSession(session)
      })
    } catch (error) {
      // The session has already failed, so a failure to close it is ignored.
      if (!(error instanceof CkrFailure)) throw error
    }
  }
}

/** Opens a session for a process that makes only one call. The session uses no health key. */
export function createBareSession(
  module: Pkcs11Module,
  login: Pick<StartCall, 'module' | 'parameters' | 'token' | 'pin'>,
  clock: Clock,
): TokenSession {
  const start: StartCall = {
    ...login,
    ...{ call: 'start', iv: 'host', keysBy: 'label', healthKey: '', functionFailedIsBusy: false },
  }
  const nothing = () => undefined
  return new TokenSession(module, start, clock, {
    ...{ onLogin: nothing, onStaleHandle: nothing, probe: nothing },
  })
}
