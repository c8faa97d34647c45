/** One entry of `backends`: its opened tokens, and the key stores that use them. */
// SPDX-License-Identifier: Apache-2.0
import type { Pkcs11BackendConfig, TokenConfig } from '../../config/config.ts'
import type { Clock } from '../../core/clock.ts'
import { Deadline } from '../../core/deadline.ts'
import type { KeyStoreName } from '../../core/ids.ts'
import type { Secret } from '../../core/secret.ts'
import type { Logger } from '../../core/logger.ts'
import type { Store } from '../../store/store.ts'
import type { KeyBackend } from '../key-backend.ts'
import { createTokenAdministration, toKeyId, type TokenAdministration } from './administration.ts'
import { createPkcs11Backend } from './backend.ts'
import { KeyDirectory } from './key-directory.ts'
import type { KeyStoreRecords } from './key-records.ts'
import { type FleetStats, TokenFleet } from './pool/fleet.ts'
import { TokenPool } from './pool/pool.ts'
import { WorkerProcess, TokenError } from './pool/worker-process.ts'
import type { DiscardCall, ProbeCall, ProbeReport, StartCall } from './wire/calls.ts'

export interface Pkcs11Keys {
  backend(keyPrefix: string, records: KeyStoreRecords): KeyBackend
  /** @param operator operator recorded with each change; if absent, changes produce no events */
  administration(
    keyStore: KeyStoreName,
    keyPrefix: string,
    store: Store,
    operator?: string,
  ): TokenAdministration
  /**
   * Applies new PINs, in the order of the tokens. If a token has refused its PIN, the new PIN is
   * tried once.
   */
  setPins(pins: readonly Secret[]): void
  /** The tokens, for calls that belong to no key store. */
  readonly fleet: TokenFleet
  stats(): { readonly tokens: readonly FleetStats[] }
  /** Process ids of the workers, for tests. */
  pids(): readonly number[]
  close(): void
}

export interface Pkcs11KeysDeps {
  readonly config: Pkcs11BackendConfig
  readonly clock: Clock
  readonly logger: Logger
  /**
   * Sizes that each token must be able to encrypt; undefined to skip the self-test, as commands do.
   */
  readonly selfTest: StartCall['selfTest'] | undefined
  /**
   * Whether to read the keys ahead of time, as a server does (default: true if a self-test is set).
   */
  readonly readsKeys?: boolean
  /** See StartCall. */
  readonly ownKey?: string
}

/**
 * Resolves when every token is logged in or is unavailable for now. Unavailable tokens are retried
 * indefinitely.
 * @throws BackendError MISCONFIGURED, after stopping everything it started
 */
export async function openPkcs11Keys(deps: Pkcs11KeysDeps): Promise<Pkcs11Keys> {
  const { config, clock } = deps
  const pools = config.tokens.map((token) => new TokenPool({ ...deps, token }))
  const fleet = new TokenFleet(
    pools.map((pool, i) => ({ id: toTokenId(config, config.tokens[i] ?? {}), pool })),
    config.hedge?.afterMs,
  )
  try {
    await Promise.all(pools.map((pool) => pool.start()))
  } catch (error) {
    fleet.stop()
    throw error
  }
  const directory = new KeyDirectory(fleet, clock, config.keys.refreshMs)
  const readKeys = () =>
    Promise.all(
      fleet.each((pool, id) =>
        pool.readKeys({
          onKeys: (entries, isFresh) => {
            directory.list(id, entries, isFresh)
          },
          onShare: (entries) => {
            directory.addShare(id, entries)
          },
          onRunEnd: (isFresh, readUntil) => {
            directory.endRun(id, isFresh, readUntil)
          },
          takeUsed: () => directory.takeUsed(id),
        }),
      ),
    )
  // After READ_FIRST_MS, keys that are still unread are looked up individually.
  if (deps.readsKeys ?? deps.selfTest !== undefined) {
    const reading = readKeys()
    const isThere = pools.every(({ metadata }) => metadata !== undefined)
    if (isThere) await new Deadline(clock, READ_FIRST_MS).race(reading).catch(() => undefined)
  }
  return {
    fleet,
    backend(keyPrefix, records) {
      directory.onSeen((name, { versions }) => {
        const keyId = toKeyId(name, keyPrefix)
        if (keyId !== undefined) records.see(keyId, [...versions.values()])
      })
      directory.addHints((name) => {
        const keyId = toKeyId(name, keyPrefix)
        return keyId === undefined ? [] : records.versions(keyId)
      })
      records.onChange((keyId) => {
        directory.reconsider(`${keyPrefix}${keyId}`, ({ versions }) =>
          records.isAsRecorded(keyId, [...versions.values()]),
        )
      })
      return createPkcs11Backend({
        ...{ fleet, directory, keyPrefix, records },
        vendor: () =>
          pools.find(({ metadata: facts }) => facts !== undefined)?.metadata?.manufacturer ??
          'PKCS#11',
      })
    },
    administration: (keyStore, keyPrefix, store, operator) =>
      createTokenAdministration({
        ...{ fleet, store, clock, keyStore, keyPrefix, operator },
        countsUses: config.iv === 'host',
      }),
    setPins(pins) {
      for (const [i, pool] of pools.entries()) {
        const pin = pins[i]
        // The pool logs the outcome.
        if (pin !== undefined) void pool.setPin(pin.reveal())
      }
    },
    stats: () => ({ tokens: fleet.stats() }),
    pids: () => pools.flatMap(({ pids }) => pids),
    close() {
      fleet.stop()
    },
  }
}

/**
 * Maximum time that startup waits for the tokens' keys to be read. The first use of an unread key
 * requires many calls, so a slow token cannot keep up while every use is a first use.
 */
const READ_FIRST_MS = 25_000

/**
 * Derives the token's id, which is printable ASCII and stays the same as long as the configuration
 * does.
 */
function toTokenId(
  config: Pkcs11BackendConfig,
  { label, serial, slot }: Partial<TokenConfig>,
): string {
  const name = label ?? serial ?? `slot-${String(slot)}`
  return `${config.name}/${name.replace(/[^\x20-\x7e]/g, '?')}`.slice(0, 256)
}

/** @throws BackendError @throws DeadlineExceeded after `deadlines.startMs` */
export async function probeModule(config: Pkcs11BackendConfig, clock: Clock): Promise<ProbeReport> {
  const { keys, healthKey, tokens, deadlines } = config
  const report = await callOnce(config, clock, deadlines.startMs, {
    ...{ call: 'probe', ...toAddress(config), keysBy: keys.by, healthKey },
    tokens: tokens.map(({ pin, ...token }) => ({ token, pin: pin.reveal() })),
  })
  return report as ProbeReport
}

/**
 * Finds the keys that `pkcs11 certify` created on the first token, and destroys them unless
 * `destroys` is false.
 * @param prefix label prefix: CERTIFY_PREFIX, or a longer one that selects a single run
 * @returns the number of keys found
 * @throws BackendError
 * @throws DeadlineExceeded
 */
export async function discardKeys(
  config: Pkcs11BackendConfig,
  clock: Clock,
  order: Pick<DiscardCall, 'prefix' | 'destroys'>,
): Promise<number> {
  const [first] = config.tokens
  if (first === undefined) return 0
  const { pin, ...token } = first
  const call = { ...toAddress(config), ...order, token, pin: pin.reveal() }
  return (await callOnce(config, clock, DISCARD_MS, { call: 'discard', ...call })) as number
}

/** Timeout in milliseconds. It is generous, because the worker reads all labels of the token. */
const DISCARD_MS = 300_000

function toAddress({ module, parameters }: Pkcs11BackendConfig) {
  return { module, ...(parameters === undefined ? {} : { parameters }) }
}

/** Makes a call in a separate process that serves only this call. */
async function callOnce(
  config: Pkcs11BackendConfig,
  clock: Clock,
  limitMs: number,
  call: ProbeCall | DiscardCall,
): Promise<unknown> {
  const process = new WorkerProcess(config.environment)
  try {
    return await new Deadline(clock, limitMs).race(process.call(call))
  } catch (error) {
    throw error instanceof TokenError ? error.toBackendError() : error
  } finally {
    process.kill()
  }
}
