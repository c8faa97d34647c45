/**
 * A sandbox for trying out a token: a temporary store, and key stores whose keys have their own
 * labels.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Pkcs11BackendConfig } from '../config/config.ts'
import { Cleanup } from '../core/cleanup.ts'
import { systemClock as clock } from '../core/clock.ts'
import { Deadline } from '../core/deadline.ts'
import { parseKeyStoreName } from '../core/ids.ts'
import { silentLogger } from '../core/logger.ts'
import { enforceContract } from '../keys/contract.ts'
import { BackendError } from '../keys/errors.ts'
import { openTokenKeyRecords } from '../keys/pkcs11/key-records.ts'
import { type Pkcs11Keys, discardKeys } from '../keys/pkcs11/pkcs11-keys.ts'
import { CERTIFY_PREFIX } from '../keys/pkcs11/wire/calls.ts'
import type { KeyBackend } from '../keys/key-backend.ts'
import type { KeyAdministration } from '../keys/administration.ts'
import { createMasterKeyFile } from '../store/master-key.ts'
import { createStore } from '../store/store.ts'
import { openBackend } from './key-backends.ts'

/** An open handle to the token, with its own worker processes. */
export interface OpenToken {
  /** Returns the key store of this name. Handles do not share key stores. */
  keyStore(name: string): KeyStoreOnToken
  /** Applies the changes made through the administration. */
  settle(): Promise<void>
  /** Process ids of the workers. */
  pids(): readonly number[]
  /** Number of open sessions. */
  sessions(): number
  close(): Promise<void>
}

export interface KeyStoreOnToken {
  readonly backend: KeyBackend
  readonly administration: KeyAdministration
  /**
   * Changes a key as another program would, without notifying the store or any other handle.
   * @throws BackendError
   */
  destroyBehind(name: string, version: number): Promise<void>
  createBehind(name: string, version: number): Promise<void>
}

export interface TokenWorkplace {
  /** @param settings settings that override the configuration @throws BackendError */
  open(settings?: Partial<Pkcs11BackendConfig>, name?: string): Promise<OpenToken>
  /**
   * Destroys the keys created here.
   * @returns the number of keys left
   */
  discard(): Promise<number>
  /** Removes the store. */
  close(): Promise<void>
}

const SELF_TEST = { plaintextBytes: 4300, aadBytes: 8200 }
const DEADLINE_MS = 60_000

/**
 * @param config configuration with exactly one token; keys are found by label, and a health key is
 * created
 */
export async function openTokenWorkplace(config: Pkcs11BackendConfig): Promise<TokenWorkplace> {
  const prefix = `${CERTIFY_PREFIX}${randomBytes(4).toString('hex')}-`
  const cleanup = new Cleanup()
  const folder = await mkdtemp(join(tmpdir(), 'latchkey-certify-'))
  cleanup.add(() => rm(folder, { recursive: true, force: true }))
  try {
    const path = join(folder, 'master.key')
    await createMasterKeyFile(path)
    const masterKey = { kind: 'file', path } as const
    const store = await createStore({ path: join(folder, 'store.db'), masterKey, clock })
    cleanup.add(() => store.close())
    let openings = 0
    return {
      async open(settings = {}, name = `o${String(++openings)}`) {
        const keys = await openBackend({
          config: {
            ...config,
            ...{ keys: { ...config.keys, by: 'label' }, healthKey: `${prefix}health` },
            ...settings,
          },
          // Do not read other keys on the token.
          ...{ clock, logger: silentLogger, selfTest: SELF_TEST, readsKeys: false },
        })
        const records = await openTokenKeyRecords({ store, clock, logger: silentLogger })
        const call = (one: Parameters<Pkcs11Keys['fleet']['call']>[0]) =>
          keys.fleet.call(one, new Deadline(clock, DEADLINE_MS))
        return {
          keyStore(own) {
            const keyStore = parseKeyStoreName(`${name}-${own}`)
            if (keyStore === undefined) throw new TypeError(`invalid key store name: ${own}`)
            const keyPrefix = `${prefix}${keyStore}-`
            return {
              backend: enforceContract(
                keys.backend(keyPrefix, records.of(keyStore, config.iv === 'host')),
              ),
              administration: keys.administration(keyStore, keyPrefix, store),
              async destroyBehind(key, version) {
                await call({ call: 'destroy', name: `${keyPrefix}${key}`, version })
              },
              async createBehind(key, version) {
                const usage = { canEncrypt: true, canDecrypt: true }
                await call({ call: 'create', name: `${keyPrefix}${key}`, version, ...usage })
              },
            }
          },
          settle: () => records.reload(),
          pids: () => keys.pids(),
          sessions: () => keys.stats().tokens[0]?.sessions.open ?? 0,
          async close() {
            keys.close()
            await records.close()
          },
        }
      },
      async discard() {
        try {
          await discardKeys(config, clock, { prefix, destroys: true })
        } catch (error) {
          // The keys that remain are counted below and reported with the test results.
          if (!(error instanceof BackendError)) throw error
        }
        return discardKeys(config, clock, { prefix, destroys: false })
      },
      close: () => cleanup.run(),
    }
  } catch (error) {
    await cleanup.run()
    throw error
  }
}

/**
 * Finds, and optionally destroys, keys left behind by earlier runs that were killed.
 * @returns the number of keys found
 * @throws BackendError
 */
export function discardLeftovers(config: Pkcs11BackendConfig, destroys: boolean): Promise<number> {
  return discardKeys(config, clock, { prefix: CERTIFY_PREFIX, destroys })
}
