/**
 * Carries out an order to stop access, from the first attempt to the receipt. The command and the
 * admin listener both use this path.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import { pause } from '../../core/deadline.ts'
import type { LatchkeyError } from '../../core/errors.ts'
import { type Reader, StorageError } from '../../store/database.ts'
import type { Store } from '../../store/store.ts'
import { SUCCESS } from '../../usage/usage-key.ts'
import type { Scope } from '../../core/scope.ts'
import { recordReceipt, type SignedReceipt, toReceipt } from '../receipt/receipt.ts'
import { openSigner } from '../receipt/signing-key.ts'
import { type Kill, type KillOrder, kill } from './kill.ts'
import { waitForRevocation } from './wait.ts'
import { leaseEndMs, type Revocation } from './waiting-fleet.ts'

export interface StopOptions {
  /** If false, returns once the switch is committed, without waiting for the instances. */
  readonly wait: boolean
  /** Timeout in milliseconds (default: `defaultPatienceMs`). */
  readonly patienceMs?: number
  /** Called after each failed attempt that will be retried. */
  readonly onRetry?: (error: LatchkeyError) => void
  readonly onWritten?: (kill: Kill) => void
  /** Called as soon as the warning is available, while the kill is still waiting. */
  readonly onWarning?: (warning: string) => void
  readonly onRevoked?: (revocation: Revocation) => void
}

export interface StopResult {
  readonly kill: Kill
  /** A warning about the scope, such as an unknown key. The switch is in force regardless. */
  readonly warning?: string
  /** Absent when the caller did not wait. */
  readonly revocation?: Revocation
  /** Absent when the caller did not wait, or when no receipt could be written. */
  readonly receipt?: SignedReceipt
}

/**
 * Timeout for the store to accept the switch, long enough to outlast a process that hangs while it
 * holds SQLite's lock, or a database failover. If the store takes longer, the operator needs
 * another way to stop the hosts.
 */
const STORE_PATIENCE_MS = 30_000
const RETRY_PAUSE_MS = 200

/** Returns the timeout for the store plus the longest time that the instances can take. */
export function defaultPatienceMs(leaseMs: number): number {
  return STORE_PATIENCE_MS + leaseEndMs(leaseMs)
}

export interface StopDeps {
  readonly store: Store
  readonly clock: Clock
  readonly leaseMs: number
  readonly sentinelFile: string
}

/**
 * @throws StorageError with a hint on how to stop a host without the store, ControlError
 * NOT_REVOKED, RESTORED_MEANWHILE
 */
export async function stop(
  { store, clock, leaseMs, sentinelFile }: StopDeps,
  order: KillOrder,
  options: StopOptions,
): Promise<StopResult> {
  const startedAt = clock.monotonic()
  const endsAt = startedAt + (options.patienceMs ?? defaultPatienceMs(leaseMs))
  // A repeated attempt does not create a second switch if the failed attempt already wrote one.
  const attempt = () => kill(store, clock, order)
  const patience = { clock, endsAt, sentinelFile, onRetry: options.onRetry }
  const done = { ...(await withPatience(attempt, patience)), startedAt }
  options.onWritten?.(done)
  const warning = warnIfKeyUnknown(store, order.scope)
  void warning.then((said) => {
    if (said !== undefined) options.onWarning?.(said)
  })
  const revocation = options.wait
    ? await waitForRevocation({ store, clock, leaseMs }, done, endsAt)
    : undefined
  if (revocation !== undefined) options.onRevoked?.(revocation)
  // The revocation is complete whether or not the receipt can be written.
  const receipt =
    revocation &&
    (await writeReceipt(store, clock, { order, kill: done, revocation }).catch(() => undefined))
  const said = await warning
  return {
    kill: done,
    ...(revocation === undefined ? {} : { revocation }),
    ...(receipt === undefined ? {} : { receipt }),
    ...(said === undefined ? {} : { warning: said }),
  }
}

export interface Patience {
  readonly clock: Clock
  /** Monotonic time in milliseconds. */
  readonly endsAt: number
  readonly sentinelFile: string
  readonly onRetry?: ((error: LatchkeyError) => void) | undefined
  /** Returns true for an error after which the caller has a better option than another attempt. */
  readonly endsEarly?: ((error: StorageError) => boolean) | undefined
}

/**
 * Retries work that failed because the store did not respond, until the timeout.
 * @throws the error of the last attempt
 */
export async function withPatience<T>(work: () => Promise<T>, patience: Patience): Promise<T> {
  const { clock, endsAt, sentinelFile, onRetry, endsEarly } = patience
  for (;;) {
    try {
      return await withinDeadline(work(), endsAt - clock.monotonic())
    } catch (error) {
      if (!(error instanceof StorageError)) throw error
      const hinted = withHint(error, sentinelFile)
      if (endsEarly?.(error) === true) throw error
      const leftMs = endsAt - clock.monotonic()
      if (!RETRIED.has(error.code) || leftMs <= 0) throw hinted
      onRetry?.(hinted)
      await pause(Math.min(RETRY_PAUSE_MS, leftMs))
    }
  }
}

/**
 * After the deadline, `work` continues in the background, so it is unknown whether it writes the
 * switch.
 */
async function withinDeadline<T>(work: Promise<T>, leftMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    const fail = () => {
      reject(new StorageError('STORE_TIMEOUT', 'the store did not accept the switch in time'))
    }
    // A Deadline would reject with its own error; this timer rejects with an error whose code the
    // caller knows.
    timer = setTimeout(fail, Math.max(1, leftMs))
  })
  return Promise.race([work, late]).finally(() => {
    clearTimeout(timer)
  })
}

/** Errors that may be temporary. */
const RETRIED: ReadonlySet<string> = new Set([
  ...['STORE_UNREACHABLE', 'STORE_TIMEOUT', 'STORE_BUSY', 'STORE_FAILED', 'CONFLICT'],
])

/** Tells the operator how to stop a host when the store itself is unreachable. */
function withHint(error: StorageError, sentinelFile: string): StorageError {
  if (!RETRIED.has(error.code) && error.code !== 'STORE_CORRUPT') return error
  return new StorageError(error.code, error.message, {
    cause: error,
    hint: `run the command again; to stop a host without the store, create its sentinel file (touch ${sentinelFile}) or send SIGUSR2 to its latchkey process`,
  })
}

/**
 * Resolves to undefined when nothing can be written to the store because it was changed from
 * outside.
 * @throws StorageError
 */
export async function writeReceipt(
  store: Store,
  clock: Clock,
  about: {
    readonly order: KillOrder
    readonly kill: Kill
    readonly revocation: Revocation
  },
): Promise<SignedReceipt | undefined> {
  const { order, revocation } = about
  const statement = toReceipt(store.id, order, about.kill, revocation, clock.now())
  if (statement === undefined) return undefined
  const signed = (await openSigner(store)).sign(statement)
  return recordReceipt(store, clock, signed)
}

/** Maximum time that a kill waits for the warning. */
const WARNING_PATIENCE_MS = 1000

/**
 * Warns about a key that Latchkey did not create, that no server has seen on a token, and that no
 * request has used recently: its id may be misspelt, or the key may not exist yet. Resolves to
 * undefined for a known key, or if the store does not respond in time. Never rejects.
 */
export async function warnIfKeyUnknown(store: Store, scope: Scope): Promise<string | undefined> {
  if (scope.kind !== 'key') return undefined
  const { keyStore, keyId } = scope
  let timer: NodeJS.Timeout | undefined
  const patience = new Promise<true>((resolve) => {
    // The kill proceeds without the warning, so a timeout is not an error.
    timer = setTimeout(resolve, WARNING_PATIENCE_MS, true)
  })
  const look = store.database
    .snapshot((reader) => isKnown(reader, keyStore, keyId))
    .catch(() => true)
  const known = await Promise.race([look, patience])
  clearTimeout(timer)
  if (known) return undefined
  return `the key store ${keyStore} has no known key ${keyId}: it was not created here, was not seen on a token, and was not used recently. The switch is in force regardless; check the spelling`
}

/**
 * A key is known if it was created as a software key, if a server has seen it on a token, or if it
 * was used recently.
 */
async function isKnown(reader: Reader, keyStore: string, keyId: string): Promise<boolean> {
  const made = await reader.query(
    'SELECT key_id FROM external_keys WHERE key_store = ? AND key_id = ?',
    [keyStore, keyId],
  )
  if (made.length > 0) return true
  const onToken = await reader.query(
    'SELECT key_id FROM token_keys WHERE key_store = ? AND key_id = ? LIMIT 1',
    [keyStore, keyId],
  )
  if (onToken.length > 0) return true
  const used = await reader.query(
    'SELECT key_id FROM activity_subjects WHERE key_store = ? AND key_id = ? AND outcome = ? LIMIT 1',
    [keyStore, keyId, SUCCESS],
  )
  return used.length > 0
}
