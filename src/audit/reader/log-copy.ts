/**
 * Copies logs from an untrusted source. Nothing enters the copy until it is verified: the
 * checkpoint is verified by its signatures and against the copy, and each tile and entry by its
 * hash.
 */
// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readFile, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { hashLeaf, hashPerfect } from '../../core/tlog/merkle.ts'
import { AuditError } from '../errors.ts'
import {
  decodeBundle,
  encodeBundle,
  fullTiles,
  GrowingTree,
  levelsOf,
  partialWidth,
  splitTile,
  TILE_WIDTH,
  tilePath,
} from '../log/tiles.ts'
import { replaceFile, replaceSynced } from '../writer/durable.ts'
import { CHECKPOINT } from '../writer/log-files.ts'
import { CERTIFICATE, CONTROL_LOG, VERIFIER_KEY } from '../writer/log-folder.ts'
import { PRUNED } from '../writer/pruning.ts'
import { bundlesOf, type OpenedLog, openLog, readBundle, readTile, widthOf } from './log-reader.ts'
import type { Problem } from './problem.ts'

/** Subdirectory of the copy that holds signed files until they are verified. */
const INCOMING = 'incoming'
/** Rejected checkpoints are kept as evidence, under this name plus part of their hash. */
const REFUSED = 'checkpoint.refused-'
/** Larger files are not kept as evidence: a checkpoint is only a few lines. */
const MAX_KEPT_BYTES = 64 * 1024

export interface CopySource {
  /** Reads a file from the source; undefined if it does not exist. */
  readonly read: (path: string) => Promise<Buffer | undefined>
  /** The store's public key. */
  readonly publicKey: string
}

class Refusal extends Error {
  readonly problem: Problem

  constructor(problem: Problem) {
    super(problem.message)
    this.problem = problem
  }
}

/**
 * Brings a log's copy up to date. Data already in the copy is not read again.
 * @param folder the copy's directory, which has the log's name
 * @returns why the log was rejected; the copy is then unchanged, and the rejected checkpoint is
 * kept next to the copy's own checkpoint
 */
export async function copyLog(folder: string, source: CopySource): Promise<Problem | undefined> {
  const signed = await source.read(CHECKPOINT)
  if (signed === undefined) return { kind: 'file', message: 'missing', path: CHECKPOINT }
  const incoming = join(folder, INCOMING)
  try {
    const before = await openCopy(folder, source.publicKey)
    const log = await openIncoming(incoming, signed, source)
    checkIdentity(basename(folder), log, before)
    const copy = new LogCopy(folder, source.read, log, before)
    await copy.checkContinues()
    await copy.run()
    await finish(folder, log, before)
    return undefined
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    const name = `${REFUSED}${hash('sha256', signed, 'hex').slice(0, 16)}`
    if (signed.length <= MAX_KEPT_BYTES) await put(join(folder, name), signed)
    return error.problem
  } finally {
    await rm(incoming, { recursive: true, force: true })
  }
}

/**
 * Opens the existing copy, or returns undefined if there is none yet. A damaged copy is refused,
 * not treated as missing.
 */
async function openCopy(folder: string, publicKey: string): Promise<OpenedLog | undefined> {
  if (!existsSync(join(folder, CHECKPOINT))) return undefined
  return openLog(folder, publicKey).catch(refuseInvalid)
}

/** Verifies the signatures on the checkpoint, the certificate and the pruning statement. */
async function openIncoming(
  incoming: string,
  signed: Buffer,
  { read, publicKey }: CopySource,
): Promise<OpenedLog> {
  await rm(incoming, { recursive: true, force: true })
  await put(join(incoming, CHECKPOINT), signed)
  for (const name of [CERTIFICATE, PRUNED]) {
    const bytes = await read(name)
    if (bytes !== undefined) await put(join(incoming, name), bytes)
  }
  return openLog(incoming, publicKey).catch(refuseInvalid)
}

function refuseInvalid(error: unknown): never {
  if (!(error instanceof AuditError)) throw error
  throw new Refusal({ kind: 'signature', message: error.message })
}

/** Prevents one process's log from being passed off as another's, or as the control log. */
function checkIdentity(name: string, { certificate }: OpenedLog, before?: OpenedLog): void {
  const { kind, origin, verifierKey } = certificate
  const isControl = name === CONTROL_LOG || name.startsWith(`${CONTROL_LOG}-`)
  const isNamed = isControl
    ? kind === 'control log' && origin.endsWith(`/${CONTROL_LOG}`)
    : kind === 'audit log' && origin.endsWith(`/audit/${name}`)
  const { origin: known, verifierKey: key } = before?.certificate ?? certificate
  if (isNamed && known === origin && key === verifierKey) return
  throw new Refusal({ kind: 'signature', message: `unexpected certificate for the log ${origin}` })
}

/** The checkpoint is written last, so it is never ahead of the files that it covers. */
async function finish(folder: string, log: OpenedLog, before?: OpenedLog): Promise<void> {
  const { certificate, signedCheckpoint } = log
  const take = async (name: string) => {
    const text = await readFile(join(folder, INCOMING, name), 'utf8')
    await replaceSynced(join(folder, name), text)
  }
  await take(CERTIFICATE)
  await replaceSynced(join(folder, VERIFIER_KEY), `${certificate.verifierKey}\n`)
  // The source may replay an earlier statement, which covers fewer entries.
  if (log.pruned > (before?.pruned ?? 0)) await take(PRUNED)
  await replaceSynced(join(folder, CHECKPOINT), signedCheckpoint)
}

class LogCopy {
  readonly #folder: string
  readonly #read: CopySource['read']
  readonly #log: OpenedLog
  readonly #size: number
  readonly #before: OpenedLog | undefined
  /** Verified tiles above the lowest level, by path: one per 65,536 entries. */
  readonly #tiles = new Map<string, readonly Buffer[]>()
  /** Each level's partial tile. */
  #edge: readonly (readonly Buffer[])[] = []

  constructor(
    folder: string,
    read: CopySource['read'],
    log: OpenedLog,
    before: OpenedLog | undefined,
  ) {
    this.#folder = folder
    this.#read = read
    this.#log = log
    this.#size = log.checkpoint.size
    this.#before = before
  }

  /** Checks that the checkpoint's tree extends the tree of the copy. Writes nothing. */
  async checkContinues(): Promise<void> {
    const known = this.#before?.checkpoint
    if (known !== undefined && known.size > this.#size) {
      const sizes = `${String(known.size)} entries, but the log has only ${String(this.#size)}`
      const message = `the copy has ${sizes}`
      throw new Refusal({ kind: 'rolled-back', message, index: this.#size })
    }
    this.#edge = await this.#openEdge()
    if (known === undefined) return
    const levels: (readonly Buffer[])[] = []
    for (let level = 0; level < levelsOf(known.size); level++) {
      const width = partialWidth(level, known.size)
      const tile = width === 0 ? [] : await this.#tile(level, fullTiles(level, known.size))
      levels.push(tile.slice(0, width))
    }
    if (new GrowingTree(known.size, levels).root().equals(known.root)) return
    const message = `the first ${String(known.size)} entries differ from those in the copy`
    throw new Refusal({ kind: 'forked', message })
  }

  /** Writes the tiles and entries that the copy lacks. */
  async run(): Promise<void> {
    const levels = levelsOf(this.#size)
    for (let level = levels - 1; level >= 0; level--) {
      const full = fullTiles(level, this.#size)
      for (let index = 0; index < full; index++) {
        const end = (index + 1) * TILE_WIDTH ** (level + 1)
        if (!this.#has(tilePath(level, index), end)) await this.#writeTile(level, index, TILE_WIDTH)
      }
      const width = partialWidth(level, this.#size)
      if (width > 0) await this.#writeTile(level, full, width)
    }
    const first = Math.ceil(this.#log.pruned / TILE_WIDTH)
    for (let index = first; index < bundlesOf(this.#size); index++) {
      const width = widthOf(index, this.#size)
      const path = tilePath('entries', index, width)
      if (!this.#has(path, index * TILE_WIDTH + width)) await this.#writeBundle(index, width, path)
    }
  }

  /** Reports whether an earlier call wrote this file, which covers only entries before `end`. */
  #has(path: string, end: number): boolean {
    return end <= (this.#before?.checkpoint.size ?? 0) && existsSync(join(this.#folder, path))
  }

  /**
   * The partial tiles together yield the signed root, so they are verified before any other tile.
   */
  async #openEdge(): Promise<readonly (readonly Buffer[])[]> {
    const levels = Array.from({ length: levelsOf(this.#size) }, (_, level) => ({
      ...{ level, index: fullTiles(level, this.#size), width: partialWidth(level, this.#size) },
    }))
    const here = levels.map(({ level, index, width }) =>
      width === 0 ? [] : (readTile(this.#folder, level, index, width) ?? []),
    )
    if (this.#isEdge(here)) return here
    const there: (readonly Buffer[])[] = []
    for (const { level, index, width } of levels) {
      there.push(width === 0 ? [] : await this.#readWide(level, index, width, splitTile))
    }
    if (this.#isEdge(there)) return there
    throw new Refusal({ kind: 'root', message: 'the tiles do not match the signed root hash' })
  }

  #isEdge(levels: readonly (readonly Buffer[])[]): boolean {
    const isWhole = levels.every(({ length }, level) => length === partialWidth(level, this.#size))
    return isWhole && new GrowingTree(this.#size, levels).root().equals(this.#log.checkpoint.root)
  }

  /** Returns a tile of the signed tree, read from the copy if the copy contains it. */
  async #tile(level: number, index: number): Promise<readonly Buffer[]> {
    if (index >= fullTiles(level, this.#size)) return this.#edge[level] ?? []
    const path = tilePath(level, index)
    const known = this.#tiles.get(path)
    if (known !== undefined) return known
    const above = await this.#tile(level + 1, Math.floor(index / TILE_WIDTH))
    const expected = above[index % TILE_WIDTH]
    const isRight = (hashes: readonly Buffer[]) =>
      expected !== undefined && hashPerfect(hashes).equals(expected)
    let tile = readTile(this.#folder, level, index, TILE_WIDTH)
    if (tile === undefined || !isRight(tile)) {
      tile = await this.#readWide(level, index, TILE_WIDTH, splitTile)
      const at = index * TILE_WIDTH ** (level + 1)
      if (!isRight(tile)) {
        throw new Refusal({ kind: 'hash', message: 'not part of the signed tree', path, index: at })
      }
    }
    if (level > 0) this.#tiles.set(path, tile)
    return tile
  }

  async #writeTile(level: number, index: number, width: number): Promise<void> {
    const bytes = Buffer.concat(await this.#tile(level, index))
    const here = readTile(this.#folder, level, index, width)
    if (here !== undefined && Buffer.concat(here).equals(bytes)) return
    await put(join(this.#folder, tilePath(level, index, width)), bytes)
  }

  async #writeBundle(bundle: number, width: number, path: string): Promise<void> {
    const hashes = await this.#tile(0, bundle)
    const findWrong = (entries: readonly Buffer[]) =>
      entries.findIndex((entry, i) => hashes[i]?.equals(hashLeaf(entry)) !== true)
    const here = readBundle(this.#folder, bundle, width)
    if (here !== undefined && findWrong(here) < 0) return
    const entries = await this.#readWide('entries', bundle, width, decodeBundle)
    const wrong = findWrong(entries)
    if (wrong >= 0) {
      const index = bundle * TILE_WIDTH + wrong
      throw new Refusal({ kind: 'entry', message: 'does not match its hash', path, index })
    }
    await put(join(this.#folder, path), encodeBundle(entries))
  }

  /**
   * Reads a tile or bundle from the source. Falls back to the full file, because the log may remove
   * the partial one once the full one exists.
   */
  async #readWide(
    level: number | 'entries',
    index: number,
    width: number,
    split: (bytes: Buffer) => readonly Buffer[] | undefined,
  ): Promise<readonly Buffer[]> {
    const path = tilePath(level, index, width)
    for (const one of new Set([path, tilePath(level, index)])) {
      const bytes = await this.#read(one)
      const parts = bytes && split(bytes)
      if (parts !== undefined && parts.length >= width) return parts.slice(0, width)
    }
    throw new Refusal({ kind: 'file', message: 'the file is missing, too short or damaged', path })
  }
}

async function put(path: string, bytes: Buffer): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o750 })
  await replaceFile(path, bytes, 0o640)
}
