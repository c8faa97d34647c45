/** Reads a log from its files: its checkpoint, its entries one bundle at a time, and its nodes. */
// SPDX-License-Identifier: Apache-2.0
import { existsSync, readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { verifySigned } from '../../core/signature.ts'
import { AuditError } from '../errors.ts'
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
  /** Number of entries at the beginning that were pruned. */
  readonly pruned: number
  /** The checkpoint as stored in the file, with all signatures. */
  readonly signedCheckpoint: string
}

/**
 * Opens a log whose key the store certifies, at its last checkpoint.
 * @param publicKey public key of the store, as `latchkey receipt key` prints it
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
    throw new AuditError('AUDIT_INVALID', `${folder}: the certificate is not signed by this key`, {
      hint: 'use the public key that latchkey receipt key prints for the store of this log',
    })
  }
  const path = join(folder, CHECKPOINT)
  const signedCheckpoint = await readFile(path, 'utf8').catch(() => '')
  const checkpoint = openCheckpoint(signedCheckpoint, key, witnesses)
  if (checkpoint === undefined) {
    const what = signedCheckpoint === '' ? 'missing' : "not signed by the log's key"
    throw new AuditError('AUDIT_INVALID', `${folder}: the checkpoint is ${what}`)
  }
  const pruned = await readPruned(folder, certificate.origin, publicKey)
  return { folder, certificate, key, checkpoint, pruned, signedCheckpoint }
}

/** Number of bundles in a tree, including the partial one. */
export function bundlesOf(size: number): number {
  return Math.ceil(size / TILE_WIDTH)
}

/** Entries of bundle `index` in a tree of this size. */
export function widthOf(index: number, size: number): number {
  return index < fullTiles(0, size) ? TILE_WIDTH : partialWidth(0, size)
}

/**
 * Returns the entries of a bundle; undefined if the file is missing or is not a bundle. If the log
 * has grown meanwhile, a full bundle has replaced the partial one.
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

/** Returns the hashes of a tile; undefined if the file is missing or too short. */
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

/** Number of tiles to cache. A proof reads few tiles, some of them often. */
const CACHED_TILES = 64

/** @throws AuditError AUDIT_INVALID for a missing tile */
export function openNodes(folder: string, size: number): NodeReader {
  const cache = new Map<string, readonly Buffer[]>()
  return readNodes(size, (level, index, width) => {
    const name = `${String(level)} ${String(index)}`
    const known = cache.get(name)
    if (known !== undefined) return known
    const hashes = readTile(folder, level, index, width)
    if (hashes === undefined) {
      const path = tilePath(level, index, width)
      throw new AuditError('AUDIT_INVALID', `${folder}: ${path} is missing or too short`)
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
 * Returns the entries from an index on. They are not verified.
 * @throws AuditError AUDIT_INVALID for a missing bundle
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
      throw new AuditError('AUDIT_INVALID', `${folder}: ${path} is missing or not a bundle`)
    }
    for (const [i, bytes] of entries.entries()) {
      const index = bundle * TILE_WIDTH + i
      if (index >= from) yield { index, bytes }
    }
  }
}
