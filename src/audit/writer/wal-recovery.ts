/** Reads the write-ahead log that a crash left behind. wal.ts writes it. */
// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { invalidLog } from '../errors.ts'
import { decodeBundle } from '../log/tiles.ts'

/**
 * A segment's file name is the index of its first entry, so that sorting by name sorts by index.
 */
const SEGMENT = /^wal-(\d{16})$/
/** Magic bytes of a segment in which each frame holds a batch. */
export const MAGIC = Buffer.from('LKAUDIT2')
/** Magic bytes of a segment of an earlier version, in which each frame holds one entry. */
const OLD_MAGIC = Buffer.from('LKAUDIT1')
/** Segment header size: magic and first index. */
export const HEAD_BYTES = 16
/** Frame header size: length and checksum. */
export const FRAME_HEAD_BYTES = 8

/**
 * The checksum covers the index of the first entry, so a misplaced frame is invalid. It also covers
 * the previous frame's checksum: if a write failed and a new frame overwrote its first frame, the
 * frames that remain from the failed write are invalid.
 */
export function checksum(index: number, previous: number, batch: Buffer): number {
  const place = Buffer.alloc(12)
  place.writeBigUInt64BE(BigInt(index))
  place.writeUInt32BE(previous, 8)
  return crc32(batch, crc32(place))
}

export interface WalContents {
  /** Index of the first entry; undefined if there are no segments. */
  readonly start: number | undefined
  readonly entries: readonly Buffer[]
  /**
   * Nonzero bytes after the last good frame: either a write that the crash interrupted, or damage.
   */
  readonly discardedBytes: number
}

/**
 * Reads what a process left behind, up to the first incomplete or damaged frame.
 * @throws AuditError AUDIT_INVALID if a segment's header is damaged or of a later version
 */
export function readWal(folder: string): WalContents {
  const names = readdirSync(folder).filter((name) => SEGMENT.test(name))
  let start: number | undefined
  let discardedBytes = 0
  const entries: Buffer[] = []
  for (const name of names.sort()) {
    const bytes = readFileSync(join(folder, name))
    const first = Number(SEGMENT.exec(name)?.[1])
    const magic = bytes.subarray(0, MAGIC.length)
    const isOld = magic.equals(OLD_MAGIC)
    // A segment gets this name only after its header has been synced, so a crash cannot explain an
    // invalid header. Without this segment's entries, the log must not count as complete.
    const isKnown = (isOld || magic.equals(MAGIC)) && bytes.length >= HEAD_BYTES
    if (!isKnown || bytes.readBigUInt64BE(MAGIC.length) !== BigInt(first)) {
      throw invalidLog(folder, `${name} is damaged or was written by a later version`)
    }
    start ??= first
    if (first !== start + entries.length) {
      discardedBytes += countBytes(bytes.subarray(HEAD_BYTES))
      continue
    }
    const end = isOld ? readOldFrames(bytes, first, entries) : readFrames(bytes, first, entries)
    discardedBytes += countBytes(bytes.subarray(end))
  }
  return { start, entries, discardedBytes }
}

/** Returns the position after the last good frame. */
function readFrames(bytes: Buffer, first: number, entries: Buffer[]): number {
  let at = HEAD_BYTES
  let previous = 0
  for (let index = first; ;) {
    const frame = readFrame(bytes, at)
    if (frame === undefined) return at
    if (checksum(index, previous, frame.content) !== frame.sum) return at
    const batch = decodeBundle(frame.content)
    if (batch === undefined) return at
    for (const entry of batch) entries.push(entry)
    index += batch.length
    previous = frame.sum
    at = frame.end
  }
}

/**
 * Reads frames of the earlier version. Each frame holds one entry, and its checksum does not cover
 * the previous frame's checksum.
 */
function readOldFrames(bytes: Buffer, first: number, entries: Buffer[]): number {
  let at = HEAD_BYTES
  const place = Buffer.alloc(8)
  for (let index = first; ; index++) {
    const frame = readFrame(bytes, at)
    if (frame === undefined) return at
    place.writeBigUInt64BE(BigInt(index))
    if (crc32(frame.content, crc32(place)) !== frame.sum) return at
    entries.push(frame.content)
    at = frame.end
  }
}

interface Frame {
  readonly content: Buffer
  readonly sum: number
  /** Position after the frame. */
  readonly end: number
}

/** Returns undefined if no frame starts here, or if the frame is incomplete. */
function readFrame(bytes: Buffer, at: number): Frame | undefined {
  const start = at + FRAME_HEAD_BYTES
  if (start > bytes.length) return undefined
  const end = start + bytes.readUInt32BE(at)
  if (end === start || end > bytes.length) return undefined
  return { content: bytes.subarray(start, end), sum: bytes.readUInt32BE(at + 4), end }
}

/** Returns the length without trailing zeros. */
function countBytes(bytes: Buffer): number {
  let end = bytes.length
  while (end > 0 && bytes[end - 1] === 0) end -= 1
  return end
}

/** Removes all segments. Call once the log is closed. */
export async function removeWal(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (name.startsWith('wal-')) await rm(join(folder, name), { force: true })
  }
}
