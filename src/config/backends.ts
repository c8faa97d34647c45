/** How `backends`, and what names one of them, go together. */
// SPDX-License-Identifier: Apache-2.0
import type { RawConfig } from './schema.ts'
import { SOFTWARE } from './sections/backends.ts'

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
