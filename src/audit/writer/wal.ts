/**
 * Writes one audit log's write-ahead log: entries that are durable but may not yet be in synced
 * tiles. Segments are zero-filled in advance, so that a sync writes data but no metadata; this
 * halved the 99th percentile latency (docs/audit.md). wal-recovery.ts reads what a crash leaves.
 */
// SPDX-License-Identifier: Apache-2.0
import {
  closeSync,
  fdatasyncSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { syncFolder } from './durable.ts'
import { checksum, FRAME_HEAD_BYTES, HEAD_BYTES, MAGIC } from './wal-recovery.ts'

export const SEGMENT_BYTES = 8 * 1024 * 1024
/**
 * Zeros are written and synced in pieces of this size, so that no batch waits for an entire segment
 * of zeros.
 */
const ZEROS = Buffer.alloc(1024 * 1024)

interface Segment {
  readonly path: string
  readonly fd: number
  /** Length of the zero-filled file. */
  readonly bytes: number
  position: number
}

/**
 * A write-ahead log. All functions block the calling thread, so they never run on the event loop.
 */
export class Wal {
  readonly #folder: string
  readonly #segmentBytes: number
  #segment: Segment | undefined
  /** Full segments, with the index after their last entry. */
  readonly #full: { readonly path: string; readonly end: number }[] = []
  #hasFilled = false
  /** Path of a synced, zero-filled file for the next segment. */
  #prepared: string | undefined
  #isPreparing = false
  #end: number
  /** Checksum of the segment's last frame; 0 before the first. */
  #last = 0

  /** @param end the next entry's index */
  constructor(folder: string, end: number, segmentBytes = SEGMENT_BYTES) {
    this.#folder = folder
    this.#end = end
    this.#segmentBytes = segmentBytes
  }

  /** The next entry's index. */
  get end(): number {
    return this.#end
  }

  /**
   * Writes a batch as one frame, and returns once it is on disk.
   * @param frame the entries encoded as in a bundle, after FRAME_HEAD_BYTES bytes for the header
   * @throws a system error, in which case none of the entries count as written
   */
  append(frame: Buffer, count: number): void {
    const segment = this.#segmentFor(frame.length)
    const sum = checksum(this.#end, this.#last, frame.subarray(FRAME_HEAD_BYTES))
    frame.writeUInt32BE(frame.length - FRAME_HEAD_BYTES)
    frame.writeUInt32BE(sum, 4)
    writeAll(segment.fd, frame, segment.position)
    fdatasyncSync(segment.fd)
    segment.position += frame.length
    this.#end += count
    this.#last = sum
  }

  /** Reports whether any segment has become full since the last call. */
  takeFilled(): boolean {
    const hasFilled = this.#hasFilled
    this.#hasFilled = false
    return hasFilled
  }

  /** Removes the segments whose entries all have an index below `size`. */
  retire(size: number): void {
    while ((this.#full[0]?.end ?? Infinity) <= size) {
      const segment = this.#full.shift()
      if (segment !== undefined) unlinkSync(segment.path)
    }
  }

  /** Removes all segments. Call once every entry is in a synced tile. */
  remove(): void {
    this.#closeSegment()
    for (const { path } of this.#full.splice(0)) unlinkSync(path)
    this.removePrepared()
  }

  /** Removes the zero-filled file for the next segment, so that its space is free for tiles. */
  removePrepared(): void {
    this.#prepared = undefined
    rmSync(this.#nextPath(), { force: true })
  }

  /**
   * Once half of this segment is used, zero-fills the next one off the calling thread, so that no
   * append has to wait for it.
   * @throws a system error; the next call retries
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
        for (let left = this.#segmentBytes; left > 0; left -= ZEROS.length) {
          await handle.write(ZEROS, 0, Math.min(left, ZEROS.length))
          await handle.sync()
        }
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
    // Create the new segment first, so that the old one is kept if the disk is full.
    const next = this.#createSegment(length)
    this.#closeSegment()
    this.#segment = next
    this.#last = 0
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
      writeAll(fd, head, 0)
      if (!isPrepared) zeroFill(fd, HEAD_BYTES, bytes)
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
    this.#hasFilled = true
    this.#segment = undefined
  }
}

function writeAll(fd: number, bytes: Buffer, position: number): void {
  let done = 0
  while (done < bytes.length) {
    done += writeSync(fd, bytes, done, bytes.length - done, position + done)
  }
}

function zeroFill(fd: number, start: number, end: number): void {
  for (let at = start; at < end; at += ZEROS.length) {
    writeAll(fd, ZEROS.subarray(0, Math.min(ZEROS.length, end - at)), at)
  }
}
