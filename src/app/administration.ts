/** Gives commands direct access to the server's store. Does not require a listener. */
// SPDX-License-Identifier: Apache-2.0
import { access } from 'node:fs/promises'
import type { KeyStoreAdministration, OperatorAdministration } from '../admin/administration.ts'
import type { Config, Pkcs11BackendConfig } from '../config/config.ts'
import { systemClock as clock } from '../core/clock.ts'
import { LatchkeyError } from '../core/errors.ts'
import { silentLogger } from '../core/logger.ts'
import { forEachInSlices } from '../core/slices.ts'
import { probeModule } from '../keys/pkcs11/pkcs11-keys.ts'
import type { ProbeReport } from '../keys/pkcs11/wire/calls.ts'
import type { KeySummary } from '../keys/administration.ts'
import { createKeyAdministration } from '../keys/software/administration.ts'
import { ensureHealthKey } from '../keys/software/health-key.ts'
import { openHighWater } from '../killswitch/instance/high-water.ts'
import { createDirectory } from '../admin/operators/directory.ts'
import { type KeyLabels, LABELS, parseLabels } from '../policy/labels.ts'
import { loadFolderLabels } from '../policy/policy-files.ts'
import { createDocumentLookup } from '../policy/document-lookup.ts'
import { protectRetiring } from '../retirement/service.ts'
import { type CredentialTable, createCredentialTable } from '../sigv4/credential-table.ts'
import { type RotationRecords, createRotationRecords } from '../sigv4/rotation-record.ts'
import { StorageError } from '../store/database.ts'
import { createEngine, type StorePlace } from '../store/engine.ts'
import { createMasterKeyFile } from '../store/master-key.ts'
import { readState } from '../store/sealed-state.ts'
import { type Store, createStore, openStore } from '../store/store.ts'
import type { CredentialUse } from '../usage/recorder.ts'
import { loadCredentialUses } from '../usage/usage-table.ts'
import { toStoreOptions } from './store.ts'
import {
  createTokenAdministrations,
  type TokenAdministrations,
  type TokenPlace,
} from './token-administrations.ts'

export interface Administration extends KeyStoreAdministration {
  readonly credentials: CredentialTable
  credentialUses(accessKeyIds?: readonly string[]): Promise<ReadonlyMap<string, CredentialUse>>
  readonly rotations: RotationRecords
}

/**
 * Changes made here reach running servers through the store's epoch.
 * @param operator operator recorded with each change (default: Latchkey itself)
 * @throws StorageError
 */
export async function openAdministration(
  config: Config,
  operator = 'latchkey',
): Promise<Administration> {
  const how = { connections: 'one', isCommand: true } as const
  const store = await openStore(await toStoreOptions(config, how))
  try {
    await ensureHealthKey(store, clock)
    const tokens = createTokenAdministrations(silentLogger)
    return {
      ...createAdministration({ config, store, operator, tokens }),
      async close() {
        await tokens.close().finally(() => store.close())
      },
    }
  } catch (error) {
    await store.close()
    throw error
  }
}

export interface AdministrationParts extends TokenPlace {
  readonly tokens: TokenAdministrations
  /** Set for `latchkey keys shred`, which destroys versions at the end of their retirement. */
  readonly forRetirement?: true
}

/** Number of keys that get their labels in one turn of the event loop. */
const LABELS_PER_TURN = 100

const findStoredLabels = createDocumentLookup(LABELS)

/** Uses an open store and tokens, which the caller closes. */
export function createAdministration({
  tokens,
  forRetirement,
  ...place
}: AdministrationParts): Omit<Administration, 'close'> {
  const { store, operator } = place
  const warnings: string[] = []
  /** A failure to read the labels does not prevent the keys from being shown. */
  const loadLabels = async () => {
    try {
      const { folder } = place.config.policy
      const text = await (folder === undefined ? findStoredLabels(store) : loadFolderLabels(folder))
      return parseLabels(text ?? '{}')
    } catch (error) {
      warnings.push(`cannot read the labels of the keys: ${describeError(error)}`)
      return undefined
    }
  }
  return {
    warnings: () => warnings,
    keys(keyStore) {
      const all =
        tokens.of(keyStore, place) ?? createKeyAdministration(store, keyStore, clock, operator)
      const keys =
        forRetirement === true ? all : protectRetiring(all, { store, keyStore, clock, operator })
      return {
        ...keys,
        async listKeys(page) {
          const labels = await loadLabels()
          const listed = await keys.listKeys(page)
          if (labels === undefined) return listed
          const labelled: KeySummary[] = []
          await forEachInSlices(listed, LABELS_PER_TURN, (key) => {
            labelled.push(addLabels(key, labels.of(keyStore, key.keyId)))
          })
          return labelled
        },
      }
    },
    credentials: createCredentialTable(store, clock, operator),
    credentialUses: (ids) => store.database.snapshot((reader) => loadCredentialUses(reader, ids)),
    rotations: createRotationRecords(store),
  }
}

function describeError(error: unknown): string {
  if (error instanceof LatchkeyError) return error.message
  const code: unknown = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' ? code : 'unknown format'
}

function addLabels(key: KeySummary, { groups, tags }: KeyLabels): KeySummary {
  return {
    ...key,
    ...(groups.length > 0 && { groups }),
    ...(Object.keys(tags).length > 0 && { tags }),
  }
}

/** @throws StorageError */
export async function openOperators(config: Config): Promise<OperatorAdministration> {
  const store = await openStore(await toStoreOptions(config, { connections: 'one' }))
  return { ...createDirectory(store, clock), close: () => store.close() }
}

/**
 * Creates the master key file if one is configured and missing, and a new store that contains only
 * its test key.
 * @throws StorageError STORE_EXISTS
 */
export async function initializeStore(
  config: Config,
  { isUnattended = false, owner }: { readonly isUnattended?: boolean; readonly owner?: Owner } = {},
): Promise<void> {
  const { masterKey } = config.store
  const owned = toOwned(config, owner)
  // Check this before the master key is created, because a new key next to an old store would only
  // cause confusion.
  if (await createEngine({ ...config.store, ...owned }).exists()) {
    const where = config.store.path ?? config.store.postgres?.host ?? ''
    throw new StorageError('STORE_EXISTS', `${where}: a store already exists`)
  }
  if (masterKey.kind === 'file' && !(await exists(masterKey.path))) {
    await createMasterKeyFile(masterKey.path)
  }
  const store = await createStore({ ...(await toStoreOptions(config)), ...owned })
  try {
    await ensureHealthKey(store, clock)
    await writeFirstMark(store, config.control.highWaterFile, isUnattended)
  } finally {
    await store.close()
  }
}

/**
 * Writes this host's high-water mark, which is safe because the host has known the store since the
 * store was created. An unattended init does not overwrite the mark of another store, because an
 * attacker may have removed that store.
 */
async function writeFirstMark(store: Store, path: string, isUnattended: boolean): Promise<void> {
  try {
    const highWater = await openHighWater(path, store.id)
    if (isUnattended && highWater.isForeign) return
    const { epoch, tag } = await store.database.snapshot((reader) =>
      readState(reader, store.sealing),
    )
    await highWater.raise({ epoch, tag })
  } catch {
    // Other hosts may already be serving. An instance without a mark consults the other instances.
  }
}

/**
 * Initializes the store if there is none. Otherwise, only checks that the master key opens it. If
 * several processes call this function at once, one of them creates the store.
 * @returns whether this call created the store
 * @throws StorageError
 */
export async function ensureStore(config: Config, owner?: Owner): Promise<boolean> {
  const owned = toOwned(config, owner)
  if (!(await createEngine({ ...config.store, ...owned }).exists())) {
    try {
      await initializeStore(config, { isUnattended: true, ...(owner && { owner }) })
      return true
    } catch (error) {
      if (!(error instanceof StorageError) || error.code !== 'STORE_EXISTS') throw error
    }
  }
  await (await openStore({ ...(await toStoreOptions(config)), ...owned })).close()
  return false
}

/** The role that owns the tables in PostgreSQL, if it differs from the configured role. */
export interface Owner {
  readonly user: string
  readonly passwordFile?: string
}

/** Returns the address and role with which the owner of the tables connects to the store. */
function toOwned(
  { store: { postgres } }: Config,
  owner: Owner | undefined,
): Pick<StorePlace, 'postgres' | 'servingRole'> {
  if (owner === undefined || postgres === undefined) return {}
  const { host, port, database, user, tls } = postgres
  const address = { host, port, database, ...owner, ...(tls === undefined ? {} : { tls }) }
  return { postgres: address, servingRole: user }
}

/** @throws StorageError if the database server does not respond */
export function storeExists(config: Config): Promise<boolean> {
  return createEngine(config.store).exists()
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

export type { ProbeReport }

/** @throws BackendError */
export function probeBackend(backend: Pkcs11BackendConfig): Promise<ProbeReport> {
  return probeModule(backend, clock)
}
