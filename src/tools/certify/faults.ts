/**
 * Causes faults that need no interposed module: processes that die or hang, other programs that
 * change keys, and too many operations.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import type { KeyStoreOnToken, OpenToken, TokenWorkplace } from '../../app/token-workplace.ts'
import type { Pkcs11BackendConfig } from '../../config/config.ts'
import { systemClock as clock } from '../../core/clock.ts'
import { Deadline } from '../../core/deadline.ts'
import type { ExternalKeyId } from '../../core/ids.ts'
import { promised } from '../../keys/suite/promised-backend.ts'
import { codeOf, describeError } from '../../keys/suite/suite.ts'
import { sendSignal, toKeyId } from './contract.ts'
import { type LoadReport, pause, runLoad } from './load.ts'

export interface FaultResult {
  readonly fault: string
  readonly hasPassed: boolean
  /** Observations, or the reason for the failure. */
  readonly detail: string
}

interface Place {
  readonly workplace: TokenWorkplace
  readonly token: OpenToken
  readonly keys: KeyStoreOnToken
  readonly config: Pkcs11BackendConfig
  readonly durationMs: number
  readonly signal: AbortSignal
}

/**
 * @returns the observations
 * @throws Error if the backend did not behave as required
 */
type Fault = (place: Place) => Promise<string>

const KEY = toKeyId('key')
/** KMS's timeout in milliseconds. */
const KMS_MS = 250
const RECOVERY_MS = 60_000
const UNHURRIED_MS = 20_000
/** Error codes that are allowed while the token is not working. KMS retries these errors. */
const TEMPORARY: ReadonlySet<string> = new Set(['BUSY', 'TIMEOUT', 'UNAVAILABLE'])
const AAD = Buffer.from('additional authenticated data')
const WIDTH = 8
const SESSIONS = 2
/**
 * Generous timeouts, so that no verdict depends on the load of this machine. A process that hangs
 * is replaced after `stuckMs`.
 */
const SETTINGS = {
  sessions: { min: SESSIONS, max: 2 * SESSIONS },
  deadlines: { operationMs: 5000, startMs: 60_000, stuckMs: 1000 },
}
const KILL_EVERY_MS = 500
const RETRY_MS = 20

const FAULTS: Readonly<Record<string, Fault>> = {
  'a worker process is killed repeatedly under load': async (place) => {
    const { token } = place
    // This timer is not a deadline: it causes the fault.
    const killing = setInterval(() => {
      const [pid] = token.pids()
      // On a busy machine, a process may take longer than the interval to start, so no process is
      // killed before all sessions are open.
      if (pid !== undefined && token.sessions() >= SESSIONS) process.kill(pid, 'SIGKILL')
    }, KILL_EVERY_MS)
    try {
      return describeLoad(await loadOn(place))
    } finally {
      clearInterval(killing)
    }
  },

  'all worker processes are killed at once': async (place) => {
    sendSignal(place.token, 'SIGKILL')
    return `recovered after ${String(await recover(place))} ms`
  },

  'the module hangs, and its processes are replaced': async (place) => {
    sendSignal(place.token, 'SIGSTOP')
    const startedAt = clock.monotonic()
    const error = await errorOf(roundTrip(place.keys, KMS_MS))
    const answeredMs = clock.monotonic() - startedAt
    require(TEMPORARY.has(codeOf(error)), `a request ended with ${describeError(error)}`)
    return `${codeOf(error)} after ${answeredMs.toFixed(0)} ms, recovered after ${String(await recover(place))} ms`
  },

  'another program logs in and exits': async ({ workplace, keys }) => {
    const other = await workplace.open({ ...SETTINGS, sessions: { min: 1, max: 1 } })
    await patiently(() => roundTrip(keys, UNHURRIED_MS))
    await other.close()
    await patiently(() => roundTrip(keys, UNHURRIED_MS))
    return 'requests continued'
  },

  'another program destroys a key that is in use': async (place) => {
    const { workplace, token, keys } = place
    const keyId = toKeyId('destroyed')
    const sealed = await encryptNew(token, keys, 'destroyed')
    await behind(workplace, (other) => other.destroyBehind('destroyed', 1))
    const error = await errorOf(patiently(() => decrypt(keys, keyId, sealed)))
    require(codeOf(error) === 'KEY_NOT_FOUND', `Decrypt ended with ${describeError(error)}`)
    await patiently(() => roundTrip(keys, UNHURRIED_MS))
    return 'KEY_NOT_FOUND, and other keys continue to work'
  },

  'another program replaces a key under the same name': async (place) => {
    const { workplace, token, keys, config } = place
    const keyId = toKeyId('replaced')
    const sealed = await encryptNew(token, keys, 'replaced')
    await behind(workplace, async (other) => {
      await other.destroyBehind('replaced', 1)
      await other.createBehind('replaced', 1)
    })
    const opened = await errorOf(patiently(() => decrypt(keys, keyId, sealed)))
    const made = await errorOf(patiently(() => encrypt(keys, keyId)))
    // Without check values, a replaced key is detected only by a tag mismatch on an earlier
    // ciphertext.
    const isRecognized = config.iv !== 'host' || codeOf(made) === 'KEY_REPLACED'
    require(isRecognized, `Encrypt ended with ${describeError(made)}`)
    return `Decrypt: ${codeOf(opened)}; Encrypt: ${codeOf(made)}`
  },

  'more operations than the queue holds': async (place) => {
    const { keys, config } = place
    const some = Array.from({ length: 2 * config.maxQueued }, () => roundTrip(keys, KMS_MS))
    const outcomes = await Promise.allSettled(some)
    const failed = outcomes.flatMap((one) =>
      one.status === 'rejected' ? [one.reason as unknown] : [],
    )
    const codes = new Set(failed.map(codeOf))
    for (const code of codes) require(TEMPORARY.has(code), `requests ended with ${code}`)
    await recover(place)
    const served = String(outcomes.length - failed.length)
    return `${served} of ${String(outcomes.length)} served${codes.size === 0 ? '' : `, the others: ${[...codes].join(', ')}`}`
  },
}

/** @throws BackendError if the token cannot be opened; `signal.reason` after an abort */
export async function runFaults(
  workplace: TokenWorkplace,
  plan: Pick<Place, 'config' | 'durationMs' | 'signal'>,
  onFault: (fault: string) => void,
): Promise<readonly FaultResult[]> {
  const { signal } = plan
  const token = await workplace.open(SETTINGS, 'faults')
  try {
    const keys = token.keyStore('keys')
    const usage = { canEncrypt: true, canDecrypt: true }
    await keys.administration.createKey({ keyId: KEY, ...usage })
    await token.settle()
    const results: FaultResult[] = []
    for (const [fault, cause] of Object.entries(FAULTS)) {
      signal.throwIfAborted()
      onFault(fault)
      const place = { workplace, token, keys, ...plan }
      try {
        await waitForSessions(place)
        const detail = await cause(place)
        results.push({ fault, hasPassed: true, detail })
      } catch (error) {
        results.push({ fault, hasPassed: false, detail: describeError(error) })
        await recover(place).catch(() => undefined)
      }
    }
    signal.throwIfAborted()
    return results
  } finally {
    await token.close()
  }
}

function loadOn({ keys: { backend }, durationMs }: Place): Promise<LoadReport> {
  return runLoad({ backend, keyId: KEY, width: WIDTH, durationMs, limitMs: KMS_MS })
}

function describeLoad({ succeeded, wrong, errors, longestOutageMs }: LoadReport): string {
  require(wrong === 0, `${String(wrong)} plaintexts were wrong`)
  require(succeeded > 0, `no request succeeded: ${JSON.stringify(errors)}`)
  for (const code of Object.keys(errors))
    require(TEMPORARY.has(code), `requests ended with ${code}`)
  const failed = Object.entries(errors).map(([code, count]) => `, ${String(count)} ${code}`)
  return `${String(succeeded)} round trips${failed.join('')}; longest outage ${longestOutageMs.toFixed(0)} ms; 0 wrong`
}

/** @throws Error if a plaintext is wrong, or BackendError */
async function roundTrip({ backend }: KeyStoreOnToken, limitMs: number): Promise<void> {
  const keys = promised(backend)
  const deadline = new Deadline(clock, limitMs)
  const plaintext = randomBytes(32)
  const { currentVersion: version } = await keys.describe(KEY, deadline)
  const sealed = await keys.encrypt({ keyId: KEY, version, plaintext, aad: AAD, deadline })
  const opened = await keys.decrypt({ keyId: KEY, version, ...sealed, aad: AAD, deadline })
  require(opened.equals(plaintext), 'a plaintext was wrong')
}

/**
 * Waits until the processes killed by the last fault have been replaced, so that the next fault
 * does not hit one that is still starting.
 */
async function waitForSessions({ token, signal }: Place): Promise<void> {
  const endsAt = clock.monotonic() + RECOVERY_MS
  while (token.sessions() < SESSIONS && clock.monotonic() < endsAt) {
    signal.throwIfAborted()
    await pause(RETRY_MS)
  }
}

/**
 * Waits until a round trip succeeds.
 * @returns the time that this took, in milliseconds
 */
async function recover({ keys, signal }: Place): Promise<number> {
  const startedAt = clock.monotonic()
  for (;;) {
    signal.throwIfAborted()
    const error = await errorOf(roundTrip(keys, UNHURRIED_MS))
    const elapsedMs = clock.monotonic() - startedAt
    if (error === undefined) return Math.round(elapsedMs)
    require(elapsedMs <
      RECOVERY_MS, `not recovered after ${String(RECOVERY_MS / 1000)} s: ${describeError(error)}`)
    await pause(RETRY_MS)
  }
}

async function encryptNew(token: OpenToken, keys: KeyStoreOnToken, name: string) {
  const keyId = toKeyId(name)
  await keys.administration.createKey({ keyId, canEncrypt: true, canDecrypt: true })
  await token.settle()
  return { version: 1, ...(await patiently(() => encrypt(keys, keyId))) }
}

type Sealed = Awaited<ReturnType<typeof encryptNew>>

function encrypt({ backend }: KeyStoreOnToken, keyId: ExternalKeyId) {
  const deadline = new Deadline(clock, UNHURRIED_MS)
  const input = { keyId, version: 1, plaintext: randomBytes(32), aad: AAD, deadline }
  return promised(backend).encrypt(input)
}

function decrypt({ backend }: KeyStoreOnToken, keyId: ExternalKeyId, sealed: Sealed) {
  const deadline = new Deadline(clock, UNHURRIED_MS)
  return promised(backend).decrypt({ ...sealed, keyId, aad: AAD, deadline })
}

/** Retries failures that may be transient, such as timeouts on a busy machine. */
async function patiently<T>(attempt: () => Promise<T>): Promise<T> {
  const endsAt = clock.monotonic() + RECOVERY_MS
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      if (!TEMPORARY.has(codeOf(error)) || clock.monotonic() >= endsAt) throw error
      await pause(RETRY_MS)
    }
  }
}

/** Works on the same keys through another handle, as another program would. */
async function behind(
  workplace: TokenWorkplace,
  work: (keys: KeyStoreOnToken) => Promise<void>,
): Promise<void> {
  const other = await workplace.open({ ...SETTINGS, sessions: { min: 1, max: 1 } }, 'faults')
  try {
    await work(other.keyStore('keys'))
  } finally {
    await other.close()
  }
}

function errorOf(attempt: Promise<unknown>): Promise<unknown> {
  return attempt.then(
    () => undefined,
    (error: unknown) => error,
  )
}

function require(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise)
}
