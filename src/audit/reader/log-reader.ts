/** Reads a log from its files: its checkpoint, its entries one bundle at a time, and its nodes. */
// SPDX-License-Identifier: Apache-2.0
import { existsSync, readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { verifySigned } from '../../core/signature.ts'
import { invalidLog } from '../errors.ts'
import { openCheckpoint, type OpenedCheckpoint } from '../../core/tlog/checkpoint.ts'
import { HASH_BYTES, type NodeReader } from '../../core/tlog/merkle.ts'
import { type NoteKey, parseVerifierKey } from '../../core/tlog/note.ts'
import {
  decodeBundle,
  fullTiles,
  partialWidth,
  readNodes,
  splitTile,
  TILE_WIDTH,
  tilePath,
} from '../log/tiles.ts'
import { CHECKPOINT } from '../writer/log-files.ts'
import { readPruned } from '../writer/pruning.ts'
import { type AnyCertificate, readCertificate } from '../writer/log-folder.ts'

export interface OpenedLog {
  readonly folder: string
  readonly certificate: AnyCertificate
  readonly key: NoteKey
  readonly checkpoint: OpenedCheckpoint
  /** Number of entries pruned from the beginning. */
  readonly pruned: number
  /** The checkpoint as stored in the file, with all signatures. */
  readonly signedCheckpoint: string
}

/**
 * Opens a log at its latest checkpoint. The store must have certified the log's key.
 * @param publicKey the store's public key, as printed by `latchkey receipt key`
 * @param witnesses witnesses whose cosignatures count
 * @throws AuditError AUDIT_INVALID
 */
export async function openLog(
  folder: string,
  publicKey: string,
  witnesses: readonly NoteKey[] = [],
): Promise<OpenedLog> {
  const signed = await readCertificate(folder)
  const certificate = signed.statement
  const key = parseVerifierKey(certificate.verifierKey)
  if (!verifySigned(signed, publicKey, 'audit') || key?.name !== certificate.origin) {
    throw invalidLog(folder, 'the certificate is not signed by this key', {
      hint: "use the public key that latchkey receipt key prints for this log's store",
    })
  }
  const path = join(folder, CHECKPOINT)
  const signedCheckpoint = await readFile(path, 'utf8').catch(() => '')
  const checkpoint = openCheckpoint(signedCheckpoint, key, witnesses)
  if (checkpoint === undefined) {
    const what = signedCheckpoint === '' ? 'missing' : "not signed by the log's key"
    throw invalidLog(folder, `the checkpoint is ${what}`)
  }
  const pruned = await readPruned(folder, certificate.origin, publicKey)
  return { folder, certificate, key, checkpoint, pruned, signedCheckpoint }
}

/** Returns the number of bundles in a tree, including the partial one. */
export function bundlesOf(size: number): number {
  return Math.ceil(size / TILE_WIDTH)
}

/** Returns the number of entries in bundle `index` of a tree of this size. */
export function widthOf(index: number, size: number): number {
  return index < fullTiles(0, size) ? TILE_WIDTH : partialWidth(0, size)
}

/**
 * Returns a bundle's entries; undefined if the file is missing or is not a bundle. If the log has
 * grown in the meantime, a full bundle has replaced the partial one.
 */
export function readBundle(
  folder: string,
  index: number,
  width: number,
): readonly Buffer[] | undefined {
  const bytes = readWide(folder, 'entries', index, width)
  const entries = bytes && decodeBundle(bytes)
  return entries !== undefined && entries.length >= width ? entries.slice(0, width) : undefined
}

/** Returns a tile's hashes; undefined if the file is missing or too short. */
export function readTile(
  folder: string,
  level: number,
  index: number,
  width: number,
): readonly Buffer[] | undefined {
  const bytes = readWide(folder, level, index, width)
  if (bytes === undefined || bytes.length % HASH_BYTES !== 0) return undefined
  const hashes = splitTile(bytes)
  return hashes.length >= width ? hashes.slice(0, width) : undefined
}

function readWide(
  folder: string,
  level: number | 'entries',
  index: number,
  width: number,
): Buffer | undefined {
  const paths = [tilePath(level, index, width), tilePath(level, index)]
  const found = paths.map((path) => join(folder, path)).find((path) => existsSync(path))
  return found === undefined ? undefined : readFileSync(found)
}

/**
 * Returns the entries of a bundle that the checkpoint covers, without blocking the event loop.
 * @throws AuditError AUDIT_INVALID if a bundle is missing
 */
export async function loadBundle(log: OpenedLog, index: number): Promise<readonly Buffer[]> {
  const width = widthOf(index, log.checkpoint.size)
  const [path, whole] = [tilePath('entries', index, width), tilePath('entries', index)]
  const load = (name: string) => readFile(join(log.folder, name))
  const bytes = await load(path)
    .catch(() => load(whole))
    .catch(() => undefined)
  const entries = bytes && decodeBundle(bytes)
  if (entries !== undefined && entries.length >= width) return entries.slice(0, width)
  throw invalidLog(log.folder, `${path} is missing or is not an entry bundle`)
}

/** Number of tiles to cache. A proof needs only a few tiles, some of them repeatedly. */
const CACHED_TILES = 64

/** @throws AuditError AUDIT_INVALID if a tile is missing */
export function openNodes(folder: string, size: number): NodeReader {
  const cache = new Map<string, readonly Buffer[]>()
  return readNodes(size, (level, index, width) => {
    const name = `${String(level)} ${String(index)}`
    const known = cache.get(name)
    if (known !== undefined) return known
    const hashes = readTile(folder, level, index, width)
    if (hashes === undefined) {
      const path = tilePath(level, index, width)
      throw invalidLog(folder, `${path} is missing or too short`)
    }
    if (cache.size >= CACHED_TILES) cache.clear()
    cache.set(name, hashes)
    return hashes
  })
}

export interface IndexedEntry {
  readonly index: number
  readonly bytes: Buffer
}

/**
 * Returns the entries starting at an index. They are not verified.
 * @throws AuditError AUDIT_INVALID if a bundle is missing
 */
export function* readEntries(
  folder: string,
  size: number,
  from = 0,
): Generator<IndexedEntry, void, undefined> {
  if (from >= size) return
  for (let bundle = Math.floor(from / TILE_WIDTH); bundle < bundlesOf(size); bundle++) {
    const width = widthOf(bundle, size)
    const entries = readBundle(folder, bundle, width)
    if (entries === undefined) {
      const path = tilePath('entries', bundle, width)
      throw invalidLog(folder, `${path} is missing or is not an entry bundle`)
    }
    for (const [i, bytes] of entries.entries()) {
      const index = bundle * TILE_WIDTH + i
      if (index >= from) yield { index, bytes }
    }
  }
}
