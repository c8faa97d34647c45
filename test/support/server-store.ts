/**
 * Creates one store per set of key stores for all test servers to reuse, and opens it for changes only if a test needs
 * to change it.
 */
// SPDX-License-Identifier: Apache-2.0
import { readFile, writeFile } from 'node:fs/promises'
import type { ExternalKeyId } from '../../src/core/ids.ts'
import {
  initializeStore,
  openAdministration,
  type Administration,
} from '../../src/app/administration.ts'
import type { Config } from '../../src/config/config.ts'
import type { Credential } from '../../src/sigv4/credential.ts'

/** The files of a closed store, and its credential. */
interface Made {
  readonly store: Buffer
  readonly masterKey: Buffer
  readonly credential: Credential
}

/** Stores, keyed by the names of their key stores. */
const made = new Map<string, Promise<Made>>()

/** Creates a store with this key in every key store, and a credential for the first key store. */
export async function makeServerStore(config: Config, keyId: ExternalKeyId): Promise<Credential> {
  const { path, masterKey } = config.store
  if (path === undefined || masterKey.kind !== 'file' || config.backends.length > 0) {
    return makeStore(config, keyId)
  }
  const name = config.keyStores.map((one) => one.name).join(' ')
  const known = made.get(name)
  if (known === undefined) {
    const making = makeStore(config, keyId).then(async (credential) => ({
      store: await readFile(path),
      masterKey: await readFile(masterKey.path),
      credential,
    }))
    made.set(name, making)
    return (await making).credential
  }
  const { store, masterKey: key, credential } = await known
  await writeFile(masterKey.path, key, { mode: 0o600 })
  await writeFile(path, store, { mode: 0o600 })
  return credential
}

async function makeStore(config: Config, keyId: ExternalKeyId): Promise<Credential> {
  await initializeStore(config)
  const administration = await openAdministration(config)
  try {
    for (const { name } of config.keyStores)
      await administration.keys(name).createKey({ keyId, canEncrypt: true, canDecrypt: true })
    const [first] = config.keyStores
    if (first === undefined) throw new TypeError('no key store')
    return await administration.credentials.create(first.name)
  } finally {
    await administration.close()
  }
}

/** Returns an administration that opens the store when it is first used. */
export function openLate(open: () => Promise<Administration>): Administration {
  let opening: Promise<Administration> | undefined
  const opened = () => (opening ??= open())
  const late = <Part extends object>(toPart: (administration: Administration) => Part): Part =>
    new Proxy({} as Part, {
      get:
        (_nothing, name) =>
        async (...operands: readonly unknown[]) => {
          const part = toPart(await opened())
          const method = Reflect.get(part, name) as (...operands: readonly unknown[]) => unknown
          return Reflect.apply(method, part, operands)
        },
    })
  return {
    keys: (keyStore) => late((administration) => administration.keys(keyStore)),
    credentials: late(({ credentials }) => credentials),
    rotations: late(({ rotations }) => rotations),
    credentialUses: async () => (await opened()).credentialUses(),
    warnings: () => [],
    async close() {
      await (await opening)?.close()
    },
  }
}
