/**
 * Opens tokens for operators who manage keys, with at most one login per backend, regardless of the
 * number of calls.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Config, Pkcs11BackendConfig } from '../config/config.ts'
import { systemClock as clock } from '../core/clock.ts'
import type { KeyStoreName } from '../core/ids.ts'
import type { Logger } from '../core/logger.ts'
import type { KeyAdministration } from '../keys/administration.ts'
import { BackendError } from '../keys/errors.ts'
import type { Pkcs11Keys } from '../keys/pkcs11/pkcs11-keys.ts'
import type { Store } from '../store/store.ts'
import { openBackend } from './key-backends.ts'

/** The configuration and the store that are used to manage a key store's keys. */
export interface TokenPlace {
  readonly config: Config
  readonly store: Store
  /** Operator recorded with each change. */
  readonly operator: string
}

export interface TokenAdministrations {
  /**
   * Returns undefined for a key store whose keys are not on tokens. The first call to the returned
   * object logs in.
   */
  of(keyStore: KeyStoreName, place: TokenPlace): KeyAdministration | undefined
  /** Applies PINs that have changed. */
  setPins(backends: Config['backends']): void
  close(): Promise<void>
}

interface OpenedTokens {
  /** The configuration with the PINs that were tried last. */
  readonly backend: Pkcs11BackendConfig
  readonly keys: Promise<Pkcs11Keys>
  /** True once `keys` has rejected. */
  isRefused: boolean
}

/** Sessions are opened on first use, and stay open. */
export function createTokenAdministrations(logger: Logger): TokenAdministrations {
  const opened = new Map<string, OpenedTokens>()
  let isClosed = false

  function open(backend: Pkcs11BackendConfig): Promise<Pkcs11Keys> {
    if (isClosed) throw new BackendError('UNAVAILABLE', 'the backend is closed')
    const known = opened.get(backend.name)
    // A rejected PIN is not retried: a token locks itself after a few wrong ones.
    if (known !== undefined && !(known.isRefused && hasOtherPins(known.backend, backend))) {
      return known.keys
    }
    const keys = openBackend({
      // One worker is enough to manage keys.
      config: { ...backend, sessions: { min: 1, max: 1 } },
      ...{ clock, logger, selfTest: undefined },
    })
    const tokens: OpenedTokens = { backend, keys, isRefused: false }
    keys.catch(() => {
      tokens.isRefused = true
    })
    opened.set(backend.name, tokens)
    return keys
  }

  return {
    of(keyStore, { config, store, operator }) {
      const found = config.keyStores.find(({ name }) => name === keyStore)
      const backend = config.backends.find(({ name }) => name === found?.backend)
      if (found === undefined || backend === undefined) return undefined
      const inner = async () =>
        (await open(backend)).administration(keyStore, found.keyPrefix, store, operator)
      return {
        createKey: async (key) => (await inner()).createKey(key),
        listKeys: async (page) => (await inner()).listKeys(page),
        rotateKey: async (keyId) => (await inner()).rotateKey(keyId),
        setKeyStatus: async (keyId, status) => (await inner()).setKeyStatus(keyId, status),
        setKeyDates: async (keyId, change) => (await inner()).setKeyDates(keyId, change),
        destroyVersion: async (keyId, version, guard) =>
          (await inner()).destroyVersion(keyId, version, guard),
        checkDestroyable: async () => (await inner()).checkDestroyable(),
        async trustKey(keyId, order) {
          const { trustKey } = await inner()
          return trustKey(keyId, order)
        },
      }
    },
    setPins(backends) {
      for (const { name, tokens } of backends) {
        const pins = tokens.map(({ pin }) => pin)
        // If the token could not be opened, the next call tries the new PINs.
        opened.get(name)?.keys.then(
          (keys) => {
            keys.setPins(pins)
          },
          () => undefined,
        )
      }
    },
    async close() {
      isClosed = true
      const all = [...opened.values()].map(({ keys }) => keys)
      for (const outcome of await Promise.allSettled(all)) {
        if (outcome.status === 'fulfilled') outcome.value.close()
      }
    },
  }
}

function hasOtherPins(tried: Pkcs11BackendConfig, { tokens }: Pkcs11BackendConfig): boolean {
  return tokens.some(({ pin }, i) => pin.reveal() !== tried.tokens[i]?.pin.reveal())
}
