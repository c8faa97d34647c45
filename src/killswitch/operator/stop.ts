/** Stopping something, from the first attempt to the receipt: the only way, for the command and the admin listener. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import { pause } from '../../core/deadline.ts'
import { type Reader, StorageError } from '../../store/database.ts'
import type { Store } from '../../store/store.ts'
import { SUCCESS } from '../../usage/usage-key.ts'
import type { Scope } from '../../core/scope.ts'
import { type Receipt, recordReceipt, toReceipt } from '../receipt/receipt.ts'
import type { Signed } from '../receipt/signature.ts'
import { openSigner } from '../receipt/signing-key.ts'
import {
  type Kill,
  type KillOrder,
  type Revocation,
  kill,
  leaseEndMs,
  waitForRevocation,
} from './kill.ts'

export interface StopOptions {
  /** False: return once the switch is committed, without waiting for the instances. */
  readonly wait: boolean
  /** From the call to the result. Default: see `defaultPatienceMs`. */
  readonly patienceMs?: number
  /** Called after each attempt that failed and is repeated. */
  readonly onRetry?: (error: StorageError) => void
  readonly onWritten?: (kill: Kill) => void
  /** Called as soon as the warning is known, while the kill waits. */
  readonly onWarning?: (warning: string) => void
  readonly onRevoked?: (revocation: Revocation) => void
}

export interface StopResult {
  readonly kill: Kill
  /** What speaks against the scope. The switch is in force all the same. */
  readonly warning?: string
  /** Absent when the caller did not wait. */
  readonly revocation?: Revocation
  /** Absent when the caller did not wait, or when no receipt could be written. */
  readonly receipt?: Signed<Receipt>
}

/**
 * A store is given this long to take the switch. A process that hangs with the lock of SQLite, or the fail-over of a
 * database, is over by then; an operator who has waited longer than this needs another way to stop the hosts.
 */
const STORE_PATIENCE_MS = 30_000
const RETRY_PAUSE_MS = 200

/** The patience for the store, and the longest time that the instances can take. */
export function defaultPatienceMs(leaseMs: number): number {
  return STORE_PATIENCE_MS + leaseEndMs(leaseMs)
}

export interface StopDeps {
  readonly store: Store
  readonly clock: Clock
  readonly leaseMs: number
  readonly sentinelFile: string
}

/** @throws StorageError with a hint how to stop a host without the store, ControlError NOT_REVOKED, RESTORED_MEANWHILE */
export async function stop(
  { store, clock, leaseMs, sentinelFile }: StopDeps,
  order: KillOrder,
  options: StopOptions,
): Promise<StopResult> {
  const startedAt = clock.monotonic()
  const endsAt = startedAt + (options.patienceMs ?? defaultPatienceMs(leaseMs))
  // A second switch like it is not made, whether or not an attempt that failed has written the first.
  const attempt = () => kill(store, clock, order)
  const patience = { clock, endsAt, sentinelFile, onRetry: options.onRetry }
  const done = { ...(await withPatience(attempt, patience)), startedAt }
  options.onWritten?.(done)
  const warning = warnIfKeyUnknown(store, order.scope)
  void warning.then((said) => {
    if (said !== undefined) options.onWarning?.(said)
  })
  const revocation = options.wait ? await waitForRevocation(store, clock, done, endsAt) : undefined
  if (revocation !== undefined) options.onRevoked?.(revocation)
  // It is revoked, whether or not the receipt can be written.
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
  /** Monotonic milliseconds. */
  readonly endsAt: number
  readonly sentinelFile: string
  readonly onRetry?: ((error: StorageError) => void) | undefined
}

/** Repeats what failed because the store did not answer, until the patience is over. @throws what the last attempt threw */
export async function withPatience<T>(work: () => Promise<T>, patience: Patience): Promise<T> {
  const { clock, endsAt, sentinelFile, onRetry } = patience
  for (;;) {
    try {
      return await withinDeadline(work(), endsAt - clock.monotonic())
    } catch (error) {
      if (!(error instanceof StorageError)) throw error
      const hinted = withHint(error, sentinelFile)
      const leftMs = endsAt - clock.monotonic()
      if (!RETRIED.has(error.code) || leftMs <= 0) throw hinted
      onRetry?.(hinted)
      await pause(Math.min(RETRY_PAUSE_MS, leftMs))
    }
  }
}

/** The attempt goes on by itself: whether it writes the switch is not known. */
async function withinDeadline<T>(work: Promise<T>, leftMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    const fail = () => {
      reject(new StorageError('STORE_TIMEOUT', 'the store did not take the switch in time'))
    }
    // A Deadline would reject with its own error: this one has a code that the caller knows.
    timer = setTimeout(fail, Math.max(1, leftMs))
  })
  return Promise.race([work, late]).finally(() => {
    clearTimeout(timer)
  })
}

/** What can end by itself. */
const RETRIED: ReadonlySet<string> = new Set([
  ...['STORE_UNREACHABLE', 'STORE_TIMEOUT', 'STORE_BUSY', 'STORE_FAILED', 'CONFLICT'],
])

/** For the night on which the store is what is out of reach. */
function withHint(error: StorageError, sentinelFile: string): StorageError {
  if (!RETRIED.has(error.code) && error.code !== 'STORE_CORRUPT') return error
  return new StorageError(error.code, error.message, {
    cause: error,
    hint: `run it again; to stop a host without the store, make its sentinel file (touch ${sentinelFile}) or send its latchkey SIGUSR2`,
  })
}

/** Undefined where the store was changed by others, so that nothing can be written to it. @throws StorageError */
export async function writeReceipt(
  store: Store,
  clock: Clock,
  about: {
    readonly order: KillOrder
    readonly kill: Kill
    readonly revocation: Revocation
  },
): Promise<Signed<Receipt> | undefined> {
  const { order, revocation } = about
  const statement = toReceipt(store.id, order, about.kill, revocation, clock.now())
  if (statement === undefined) return undefined
  const signed = (await openSigner(store)).sign(statement)
  await recordReceipt(store, clock, signed)
  return signed
}

/** No kill waits longer than this for a warning. */
const WARNING_PATIENCE_MS = 1000

/**
 * Warns of a key that was never made here and that no request has used lately: it may be misspelt, or be made later.
 * Undefined for a known key, and where the store does not say in time. Never rejects.
 */
export async function warnIfKeyUnknown(store: Store, scope: Scope): Promise<string | undefined> {
  if (scope.kind !== 'key') return undefined
  const { keyStore, keyId } = scope
  let timer: NodeJS.Timeout | undefined
  const patience = new Promise<true>((resolve) => {
    // The kill goes on without the warning, so this is no error.
    timer = setTimeout(resolve, WARNING_PATIENCE_MS, true)
  })
  const look = store.database
    .snapshot((reader) => isKnown(reader, keyStore, keyId))
    .catch(() => true)
  const known = await Promise.race([look, patience])
  clearTimeout(timer)
  if (known) return undefined
  return `no key ${keyId} is known in the key store ${keyStore}: neither was it made here, nor did anybody use it lately; the switch is in force all the same. Is it misspelt?`
}

/** Made as a software key, or served lately: keys in HSMs are known by their use. */
async function isKnown(reader: Reader, keyStore: string, keyId: string): Promise<boolean> {
  const made = await reader.query(
    'SELECT key_id FROM external_keys WHERE key_store = ? AND key_id = ?',
    [keyStore, keyId],
  )
  if (made.length > 0) return true
  const used = await reader.query(
    'SELECT key_id FROM activity_subjects WHERE key_store = ? AND key_id = ? AND outcome = ? LIMIT 1',
    [keyStore, keyId, SUCCESS],
  )
  return used.length > 0
}
