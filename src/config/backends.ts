/** `backends` as it is written, to what the program takes; and what of it does not go together. */
// SPDX-License-Identifier: Apache-2.0
import type { Pkcs11BackendConfig, TokenConfig } from './config.ts'
import { toMilliseconds as ms } from '../core/duration.ts'
import type { Secrets } from './load-secrets.ts'
import type { RawBackend, RawConfig } from './schema.ts'

/** The embedded keys, which need no entry in `backends`. */
export const SOFTWARE = 'software'

export function toBackend(
  raw: RawBackend,
  index: number,
  secrets: Secrets,
  absolute: (path: string) => string,
): Pkcs11BackendConfig {
  const own = raw.environment.map((line) => {
    const at = line.indexOf('=')
    return [line.slice(0, at), line.slice(at + 1)] as const
  })
  return {
    kind: raw.kind,
    name: raw.name,
    // A bare name is the dynamic linker's to find.
    module: raw.module.includes('/') ? absolute(raw.module) : raw.module,
    ...(raw.parameters === undefined ? {} : { parameters: raw.parameters }),
    environment: { ...secrets.environment, ...Object.fromEntries(own) },
    tokens: raw.tokens.map(({ label, serial, slot }, i): TokenConfig => {
      const pin = secrets.pins[index]?.[i]
      if (pin === undefined) throw new TypeError('a token without its PIN passes the checks')
      return {
        ...(label === undefined ? {} : { label }),
        ...(serial === undefined ? {} : { serial }),
        ...(slot === undefined ? {} : { slot }),
        pin,
      }
    }),
    sessions: raw.sessions,
    maxQueued: raw.maxQueued,
    deadlines: {
      operationMs: ms(raw.deadlines.operation),
      startMs: ms(raw.deadlines.start),
      stuckMs: ms(raw.deadlines.stuck),
    },
    heartbeatMs: ms(raw.heartbeat),
    iv: raw.iv,
    keys: { by: raw.keys.by, refreshMs: ms(raw.keys.refresh) },
    healthKey: raw.healthKey,
    verifyEveryEncrypt: raw.verifyEveryEncrypt,
    functionFailedIsBusy: raw.functionFailedIsBusy,
  }
}

type Report = (path: string, message: string) => void

export function checkBackends({ backends }: RawConfig, fault: Report): void {
  const names = [SOFTWARE, ...backends.map(({ name }) => name)]
  backends.forEach((backend, i) => {
    const path = `backends[${String(i)}]`
    const first = names.indexOf(backend.name)
    if (first <= i) {
      const whose = first === 0 ? 'the embedded keys' : `backends[${String(first - 1)}]`
      fault(`${path}.name`, `is that of ${whose} too: ${JSON.stringify(backend.name)}`)
    }
    const { min, max } = backend.sessions
    if (min > max) {
      fault(
        `${path}.sessions.min`,
        `expected at most sessions.max (${String(max)}), found ${String(min)}`,
      )
    }
    const seen = new Set<string>()
    backend.tokens.forEach(({ label, serial, slot }, j) => {
      const selectors = [label, serial, slot].filter((one) => one !== undefined)
      const own = `${path}.tokens[${String(j)}]`
      if (selectors.length !== 1) fault(own, 'expected exactly one of label, serial, slot')
      const text = JSON.stringify({ label, serial, slot })
      if (seen.has(text)) fault(own, 'is listed twice')
      seen.add(text)
    })
  })
}

export function checkKeyStoreBackends(raw: RawConfig, fault: Report): void {
  raw.keyStores.forEach((keyStore, i) => {
    const path = `keyStores[${String(i)}]`
    const backend = raw.backends.find(({ name }) => name === keyStore.backend)
    if (backend === undefined && keyStore.backend !== SOFTWARE) {
      const known = [SOFTWARE, ...raw.backends.map(({ name }) => name)].join(', ')
      fault(`${path}.backend`, `is none of ${known}: ${JSON.stringify(keyStore.backend)}`)
      return
    }
    if (keyStore.accept.length > 0 && backend === undefined) {
      fault(`${path}.accept`, 'needs a backend of kind pkcs11')
    }
    if (keyStore.keyPrefix !== '' && backend?.keys.by !== 'label') {
      fault(`${path}.keyPrefix`, 'needs a backend of kind pkcs11 whose keys are found by label')
    }
  })
}

export function checkMasterKeyBackend({ store, backends }: RawConfig, fault: Report): void {
  const { pkcs11 } = store.masterKey
  if (pkcs11 === undefined || backends.some(({ name }) => name === pkcs11.backend)) return
  fault('store.masterKey.pkcs11.backend', `is none of backends: ${JSON.stringify(pkcs11.backend)}`)
}
