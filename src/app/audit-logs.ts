/** Opens the audit logs of a configuration or of a folder, for commands. */
// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { AuditError } from '../audit/errors.ts'
import type { KnownHead, Problem } from '../audit/reader/verify-log.ts'
import { listLogs } from '../audit/writer/log-folder.ts'
import type { Config } from '../config/config.ts'
import { openSigner } from '../killswitch/receipt/signing-key.ts'
import { readEvents } from '../store/event-log.ts'
import { openStore } from '../store/store.ts'
import { toStoreOptions } from './store.ts'

export interface AuditLogs {
  /** Folders of the logs, oldest first. */
  readonly folders: readonly string[]
  /** Public key of the store, which certifies their keys. */
  readonly publicKey: string
  /** Heads recorded in the store, by the origin of their log. */
  readonly heads: ReadonlyMap<string, readonly KnownHead[]>
  /** Origins of the logs that the store has seen opened. */
  readonly opened: ReadonlySet<string>
}

export interface AuditPlace {
  /** A folder of logs, or of one log; absent: that of the configuration. */
  readonly folder: string | undefined
  /** Public key of the store; absent: opens the store to read it. */
  readonly publicKey: string | undefined
  readonly loadConfig: () => Promise<Config>
}

/**
 * Needs no store if a folder and a public key are given; nothing is then known about missing or
 * shortened logs.
 * @throws AuditError AUDIT_NOT_FOUND, StorageError
 */
export async function openAuditLogs(place: AuditPlace): Promise<AuditLogs> {
  const known =
    place.publicKey === undefined ? await readStore(await place.loadConfig()) : undefined
  const folder = place.folder ?? known?.folder ?? (await place.loadConfig()).audit.folder
  const folders = await findLogs(folder)
  return {
    folders,
    publicKey: place.publicKey ?? known?.publicKey ?? '',
    heads: known?.heads ?? new Map(),
    opened: known?.opened ?? new Set(),
  }
}

/** @throws AuditError AUDIT_NOT_FOUND */
async function findLogs(folder: string): Promise<readonly string[]> {
  if (existsSync(join(folder, 'certificate.json'))) return [folder]
  const names = await listLogs(folder)
  if (names.length === 0) {
    throw new AuditError('AUDIT_NOT_FOUND', `${folder}: there is no audit log`, {
      hint: 'audit.mode says whether servers write one',
    })
  }
  return names.map((name) => join(folder, name))
}

async function readStore(config: Config) {
  const store = await openStore(await toStoreOptions(config, { connections: 'one' }))
  try {
    const { publicKey } = await openSigner(store)
    const events = await store.database.snapshot((reader) => readEvents(reader, store.sealing))
    const heads = new Map<string, KnownHead[]>()
    const opened = new Set<string>()
    for (const { kind, detail } of events) {
      const origin = String(detail['origin'])
      if (kind === 'audit-opened') opened.add(origin)
      if (kind !== 'audit-closed' && kind !== 'audit-recovered') continue
      const root = Buffer.from(String(detail['root']), 'base64')
      const head = { size: Number(detail['size']), root, source: 'the store' }
      heads.set(origin, [...(heads.get(origin) ?? []), head])
    }
    return { folder: config.audit.folder, publicKey, heads, opened }
  } finally {
    await store.close()
  }
}

/** Returns a problem for each log that the store has seen and that is not among these. */
export function findMissing(
  { opened, heads }: AuditLogs,
  origins: ReadonlySet<string>,
): readonly Problem[] {
  return [...opened]
    .filter((origin) => !origins.has(origin))
    .map((origin) => {
      const size = heads.get(origin)?.at(-1)?.size
      const entries = size === undefined ? '' : ` of ${String(size)} entries`
      return {
        kind: 'missing',
        message: `the store knows the log ${origin}${entries}, which is not in this folder`,
      }
    })
}
