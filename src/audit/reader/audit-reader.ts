/**
 * Reads audit logs by name, in pages, for commands and the admin listener. The admin listener's
 * client implements the same interface remotely.
 */
// SPDX-License-Identifier: Apache-2.0
import { basename } from 'node:path'
import { AuditError } from '../errors.ts'
import type { HashPrincipal } from '../principal-hash.ts'
import { loadBundle, openLog } from './log-reader.ts'
import { TILE_WIDTH } from '../log/tiles.ts'
import { proveEntry } from './prove.ts'
import { type EntryPage, type Filter, type PageOrder, searchPage } from './search.ts'

export interface AuditReader {
  /** Returns the names of the logs. Every process adds a log when it starts. */
  logs(): Promise<readonly string[]>
  /**
   * Reads a page of a log. Each call opens the log at its latest checkpoint.
   * @throws AuditError AUDIT_NOT_FOUND, AUDIT_INVALID
   */
  page(log: string, filter: Filter, order: PageOrder): Promise<EntryPage>
  /**
   * Returns a proof that the log contains an entry.
   * @throws AuditError AUDIT_NOT_FOUND, AUDIT_INVALID
   */
  prove(log: string, index: number): Promise<string>
}

export interface AuditReaderOptions {
  /** Returns the directories that hold the logs. */
  readonly folders: () => Promise<readonly string[]>
  /** Returns a log's directory; undefined if no log has this name. */
  readonly find: (log: string) => Promise<string | undefined>
  /** Returns the store's public key, which certifies the logs' keys. */
  readonly publicKey: () => Promise<string>
  /**
   * Absent if the store is not available; entries with hashed principals can then be found only by
   * hash.
   */
  readonly hashPrincipal?: HashPrincipal | undefined
}

export function createAuditReader(options: AuditReaderOptions): AuditReader {
  const open = async (name: string) => {
    const folder = await options.find(name)
    if (folder === undefined) throw new AuditError('AUDIT_NOT_FOUND', `there is no log ${name}`)
    return openLog(folder, await options.publicKey())
  }
  return {
    logs: async () => (await options.folders()).map((folder) => basename(folder)),
    async page(name, filter, order) {
      const { hashPrincipal } = options
      return searchPage(await open(name), { ...filter, hashPrincipal }, order)
    },
    async prove(name, index) {
      const log = await open(name)
      const isCovered = index >= log.pruned && index < log.checkpoint.size
      const bundle = isCovered ? await loadBundle(log, Math.floor(index / TILE_WIDTH)) : []
      const bytes = bundle[index % TILE_WIDTH]
      if (bytes !== undefined) return proveEntry(log, index, bytes)
      throw new AuditError('AUDIT_NOT_FOUND', `the log ${name} has no entry ${String(index)}`)
    },
  }
}
