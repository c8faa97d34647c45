/**
 * The write-ahead log of one audit log: entries that are durable but possibly not yet in synced
 * tiles. Segments are zero-filled in advance, so that a sync writes data and no metadata; this
 * halved the 99th percentile in the measurements of docs/audit.md.
 */
// SPDX-License-Identifier: Apache-2.0
import {
  closeSync,
  fdatasyncSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { syncFolder } from './durable.ts'

/** Name of a segment: the index of its first entry, so that names sort as indexes do. */
const SEGMENT = /^wal-(\d{16})$/
const MAGIC = Buffer.from('LKAUDIT1')
/** Size of the segment header: magic and first index. */
const HEAD_BYTES = 16
/** Size of a frame header: length and checksum. */
const FRAME_HEAD_BYTES = 8

export const SEGMENT_BYTES = 8 * 1024 * 1024

interface Segment {
  readonly path: string
  readonly fd: number
  /** Length of the file, which was zero-filled in advance. */
  readonly bytes: number
  position: number
}

/** A write-ahead log. All functions block the calling thread, which is not the event loop. */
export class Wal {
  readonly #folder: string
  readonly #segmentBytes: number
  #segment: Segment | undefined
  /** Full segments, with the index after their last entry. */
  readonly #full: { readonly path: string; readonly end: number }[] = []
  /** Path of a synced, zero-filled file for the next segment. */
  #prepared: string | undefined
  #isPreparing = false
  #end: number

  /** @param end index of the next entry */
  constructor(folder: string, end: number, segmentBytes = SEGMENT_BYTES) {
    this.#folder = folder
    this.#end = end
    this.#segmentBytes = segmentBytes
  }

  /** Index of the next entry. */
  get end(): number {
    return this.#end
  }

  /**
   * Returns once the entries are on disk.
   * @throws a system error; then none of the entries counts as written
   */
  append(entries: readonly Buffer[]): void {
    const bytes = Buffer.concat(entries.flatMap((one, i) => toFrame(this.#end + i, one)))
    const segment = this.#segmentFor(bytes.length)
    writeAll(segment.fd, bytes, segment.position)
    fdatasyncSync(segment.fd)
    segment.position += bytes.length
    this.#end += entries.length
  }

  /** Reports whether a segment could be removed once its entries are in synced tiles. */
  get hasFullSegments(): boolean {
    return this.#full.length > 0
  }

  /** Removes the segments whose entries all have an index below `size`. */
  retire(size: number): void {
    while ((this.#full[0]?.end ?? Infinity) <= size) {
      const segment = this.#full.shift()
      if (segment !== undefined) unlinkSync(segment.path)
    }
  }

  /** Removes everything. Call when all entries are in synced tiles. */
  remove(): void {
    this.#closeSegment()
    for (const { path } of this.#full.splice(0)) unlinkSync(path)
    rmSync(this.#nextPath(), { force: true })
  }

  /**
   * Writes the zeros of the next segment once half of this one is used, off the calling thread, so
   * that the append that needs it does not wait for them.
   * @throws a system error; the next call tries again
   */
  async prepare(): Promise<void> {
    const current = this.#segment
    if (current === undefined || current.position < current.bytes / 2) return
    if (this.#prepared !== undefined || this.#isPreparing) return
    this.#isPreparing = true
    try {
      const path = this.#nextPath()
      rmSync(path, { force: true })
      const handle = await open(path, 'wx', 0o600)
      try {
        await handle.writeFile(Buffer.alloc(this.#segmentBytes))
        await handle.sync()
      } finally {
        await handle.close()
      }
      this.#prepared = path
    } finally {
      this.#isPreparing = false
    }
  }

  #segmentFor(length: number): Segment {
    if (this.#segment !== undefined && this.#segment.position + length <= this.#segment.bytes) {
      return this.#segment
    }
    // The new segment is created first, so that the old one stays if the disk is full.
    const next = this.#createSegment(length)
    this.#closeSegment()
    this.#segment = next
    return next
  }

  #createSegment(length: number): Segment {
    const needed = HEAD_BYTES + length + FRAME_HEAD_BYTES
    const isPrepared = this.#prepared !== undefined && needed <= this.#segmentBytes
    const temporary = isPrepared ? this.#nextPath() : join(this.#folder, 'wal-new')
    const bytes = Math.max(this.#segmentBytes, needed)
    const path = join(this.#folder, `wal-${String(this.#end).padStart(16, '0')}`)
    if (!isPrepared) rmSync(temporary, { force: true })
    const fd = openSync(temporary, isPrepared ? 'r+' : 'wx', 0o600)
    try {
      const head = Buffer.alloc(HEAD_BYTES)
      MAGIC.copy(head)
      head.writeBigUInt64BE(BigInt(this.#end), MAGIC.length)
      writeAll(fd, isPrepared ? head : Buffer.concat([head], bytes), 0)
      fsyncSync(fd)
      renameSync(temporary, path)
      syncFolder(this.#folder)
    } catch (error) {
      closeSync(fd)
      rmSync(temporary, { force: true })
      throw error
    } finally {
      if (isPrepared) this.#prepared = undefined
    }
    return { path, fd, bytes, position: HEAD_BYTES }
  }

  #nextPath(): string {
    return join(this.#folder, 'wal-next')
  }

  #closeSegment(): void {
    if (this.#segment === undefined) return
    closeSync(this.#segment.fd)
    this.#full.push({ path: this.#segment.path, end: this.#end })
    this.#segment = undefined
  }
}

function toFrame(index: number, entry: Buffer): readonly Buffer[] {
  const head = Buffer.alloc(FRAME_HEAD_BYTES)
  head.writeUInt32BE(entry.length)
  head.writeUInt32BE(checksum(index, entry), 4)
  return [head, entry]
}

/** The checksum covers the index, so a frame in the wrong place is not valid. */
function checksum(index: number, entry: Buffer): number {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(index))
  return crc32(entry, crc32(bytes))
}

function writeAll(fd: number, bytes: Buffer, position: number): void {
  let done = 0
  while (done < bytes.length) {
    done += writeSync(fd, bytes, done, bytes.length - done, position + done)
  }
}

export interface WalContents {
  /** Index of the first entry; undefined without any segment. */
  readonly start: number | undefined
  readonly entries: readonly Buffer[]
  /**
   * Bytes after the last good frame that are not zero: a write interrupted by the crash, or damage.
   */
  readonly discardedBytes: number
}

/** Reads what a process left behind, up to the first frame that is incomplete or damaged. */
export function readWal(folder: string): WalContents {
  const names = readdirSync(folder).filter((name) => SEGMENT.test(name))
  let start: number | undefined
  let discardedBytes = 0
  const entries: Buffer[] = []
  for (const name of names.sort()) {
    const bytes = readFileSync(join(folder, name))
    const first = Number(SEGMENT.exec(name)?.[1])
    const isSegment = bytes.subarray(0, MAGIC.length).equals(MAGIC)
    // The crash came before the segment was complete, so it holds no entry that was reported as durable.
    if (!isSegment || bytes.readBigUInt64BE(MAGIC.length) !== BigInt(first)) continue
    start ??= first
    if (first !== start + entries.length) {
      discardedBytes += countBytes(bytes.subarray(HEAD_BYTES))
      continue
    }
    const end = readFrames(bytes, first, entries)
    discardedBytes += countBytes(bytes.subarray(end))
  }
  return { start, entries, discardedBytes }
}

/** Returns the position after the last good frame. */
function readFrames(bytes: Buffer, first: number, entries: Buffer[]): number {
  let at = HEAD_BYTES
  for (let index = first; at + FRAME_HEAD_BYTES <= bytes.length; index++) {
    const length = bytes.readUInt32BE(at)
    const end = at + FRAME_HEAD_BYTES + length
    if (length === 0 || end > bytes.length) break
    const entry = bytes.subarray(at + FRAME_HEAD_BYTES, end)
    if (checksum(index, entry) !== bytes.readUInt32BE(at + 4)) break
    entries.push(entry)
    at = end
  }
  return at
}

/** Returns the length without the zeros at the end. */
function countBytes(bytes: Buffer): number {
  let end = bytes.length
  while (end > 0 && bytes[end - 1] === 0) end -= 1
  return end
}

export function removeWal(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (name.startsWith('wal-')) unlinkSync(join(folder, name))
  }
}
