/**
 * One audit log's thread. It writes batches to the write-ahead log, with a single frame and sync
 * for all batches that have arrived, and publishes tiles and a checkpoint at intervals.
 */
// SPDX-License-Identifier: Apache-2.0
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { systemClock as clock } from '../../core/clock.ts'
import { periodic } from '../../core/periodic.ts'
import { createNoteSigner } from '../../core/tlog/note.ts'
import { GrowingTree } from '../log/tiles.ts'
import { LogFiles } from './log-files.ts'
import { reloadFiles } from './log-recovery.ts'
import type { AuditThreadData, FromThread, PublishedHead, ToThread } from './protocol.ts'
import { FRAME_HEAD_BYTES } from './wal-recovery.ts'
import { Wal } from './wal.ts'

if (parentPort === null) throw new TypeError('this module must run in a worker thread')
const port = parentPort
const { folder, origin, seed, checkpointMs } = workerData as AuditThreadData
const signer = createNoteSigner(origin, Buffer.from(seed))
let files = new LogFiles(folder, signer, { tree: new GrowingTree(), bundle: [] })
const wal = new Wal(folder, 0)
/**
 * Reason the thread stopped writing: the log is closed, or the state on disk is unknown, because
 * syncing the write-ahead log failed, or syncing the tiles failed twice.
 */
let failure: string | undefined
/** The last checkpoint. */
let published: PublishedHead | undefined
/** Times at which the groups of unsynced files were completed, oldest first. */
const marks: number[] = []
/**
 * True after a write failed, for example because the disk is full. Old segments are then removed
 * without delay.
 */
let isShort = false
/** True from a reload of the files until the reloaded files are synced. */
let isReloaded = false

const say = (message: FromThread) => {
  port.postMessage(message)
}

type Batch = Extract<ToThread, { kind: 'append' }>
type Closing = Extract<ToThread, { kind: 'close' }>

/**
 * Linux writes modified pages to disk once they are 30 s old, and looks for such pages every 5 s.
 */
const SETTLE_MS = 40_000
/**
 * Maximum number of groups waiting to be synced, each of which keeps at least one segment of the
 * write-ahead log on disk.
 */
const MAX_MARKS = 8

/** Batches that have arrived are divided into frames of roughly this size. */
const FRAME_BYTES = 2 * 1024 * 1024
/** Batches that have arrived are combined into frames of roughly this size. */
let memory = Buffer.alloc(64 * 1024)

/**
 * Copies batches into a frame, after the space for the frame's header. Afterwards, the memory of
 * the batches can be reused.
 */
function toFrame(batches: readonly Batch[]): Buffer {
  const length = batches.reduce((sum, { bytes }) => sum + bytes.length, FRAME_HEAD_BYTES)
  if (length > memory.length) memory = Buffer.allocUnsafeSlow(length * 2)
  let at = FRAME_HEAD_BYTES
  for (const { bytes } of batches) {
    memory.set(bytes, at)
    at += bytes.length
  }
  return memory.subarray(0, length)
}

function append(batches: readonly Batch[]): void {
  const [first] = batches
  const last = batches.at(-1)
  if (first === undefined || last === undefined) return
  const frame = toFrame(batches)
  const count = batches.reduce((sum, batch) => sum + batch.count, 0)
  try {
    if (failure !== undefined) throw new Error(failure)
    wal.append(frame, count)
    say({ kind: 'durable', upTo: last.ticket })
  } catch (error) {
    const why = describe(error)
    if (isSyncFailure(error)) failure = why
    isShort = true
    say({ kind: 'refused', from: first.ticket, upTo: last.ticket, why })
    return
  }
  // Update the tree only after notifying the event loop, because a response to KMS may be waiting
  // for that message.
  files.appendBundle(frame.subarray(FRAME_HEAD_BYTES))
}

function isSyncFailure(error: unknown): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === 'EIO'
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** Takes every batch that has arrived, so that one sync covers them all. */
function take(message: ToThread): void {
  let batches: Batch[] = []
  let bytes = 0
  let closing: Closing | undefined
  for (let next: ToThread | undefined = message; next !== undefined;) {
    if (next.kind === 'append') {
      batches.push(next)
      bytes += next.bytes.length
    } else closing = next
    if (bytes >= FRAME_BYTES) {
      append(batches)
      batches = []
      bytes = 0
    }
    const received = receiveMessageOnPort(port) as { readonly message: ToThread } | undefined
    next = received?.message
  }
  append(batches)
  if (closing !== undefined) {
    void close(closing)
    return
  }
  // A failure is harmless: the append that needs the segment creates it itself.
  if (failure === undefined) wal.prepare().catch(() => undefined)
  writeFull()
}

/**
 * Writes full tiles now. If `publish` wrote all of them at once, the writes would delay batches.
 */
function writeFull(): void {
  try {
    files.writeFull()
  } catch {
    // The next `publish` tries again, and reports the failure.
  }
}

async function publish(): Promise<void> {
  try {
    if (files.syncFailure !== undefined) reload(files.syncFailure)
    if (files.size !== published?.size) publishGrown()
  } catch (error) {
    isShort = true
    throw error
  } finally {
    await syncSettled()
  }
}

/**
 * Rewrites tiles that a failed sync may have lost. The write-ahead log still has their entries,
 * because its segments are removed only after a successful sync. If a sync fails again, the thread
 * stops writing, and the next start completes the log.
 */
function reload(why: Error): void {
  if (isReloaded) {
    failure ??= why.message
    throw why
  }
  isReloaded = true
  files = reloadFiles({ folder, signer, end: wal.end })
  published = undefined
  marks.length = 0
}

function publishGrown(): void {
  files.publishNow()
  published = head()
  say({ kind: 'published', ...published })
  if (!wal.takeFilled() && !isReloaded) return
  files.mark()
  marks.push(clock.monotonic())
}

/**
 * Syncs the tiles of old segments, then removes the segments. By then, the kernel has usually
 * written the tiles on its own. If tiles were synced immediately, writing them and the file
 * system's journal would compete with batches that are waiting for the same disk. If a write has
 * failed, however, the segments are removed without delay, because a full disk needs their space.
 */
async function syncSettled(): Promise<void> {
  const settled = isShort || isReloaded ? Infinity : clock.monotonic() - SETTLE_MS
  isShort = false
  while (marks.length > MAX_MARKS || (marks[0] ?? NaN) <= settled) {
    wal.retire(await files.syncOldest())
    marks.shift()
    isReloaded = false
  }
}

function head(): PublishedHead {
  return { size: files.size, root: files.root().toString('base64') }
}

const publishing = periodic({
  intervalMs: checkpointMs,
  work: publish,
  onError: (error) => {
    say({ kind: 'unpublished', why: describe(error) })
  },
})

/**
 * Closes the log. Entries that arrive from now on are refused, because the last checkpoint would
 * not cover them.
 */
async function close({ endsInGap }: Closing): Promise<void> {
  failure ??= 'the log is closed'
  await publishing.stop()
  try {
    wal.removePrepared()
    await publish()
    await files.sync()
    // If the write-ahead log remains, the next start appends an entry that marks the gap.
    if (!endsInGap) wal.remove()
  } catch (error) {
    // Keep the write-ahead log, which the next start applies.
    say({ kind: 'unpublished', why: describe(error) })
  }
  say({ kind: 'closed', ...(published ?? head()) })
  port.close()
}

port.on('message', take)
