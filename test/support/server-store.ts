/**
 * Creates the store of a test server once for all that are alike, and opens it for changes only
 * where a test needs to.
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

/** The files of a closed store, and what is in it. */
interface Made {
  readonly store: Buffer
  readonly masterKey: Buffer
  readonly credential: Credential
}

/** Stores by the names of their key stores. */
const made = new Map<string, Promise<Made>>()

/** Creates a key of this id in each key store, and a credential for the first. */
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

/** Opens the store at the first call of any of its parts. */
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
    async close() {
      await (await opening)?.close()
    },
  }
}
