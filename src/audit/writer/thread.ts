/**
 * The thread of one audit log. It writes batches to the write-ahead log, with one sync for all that
 * have arrived, and publishes tiles and a checkpoint at intervals.
 */
// SPDX-License-Identifier: Apache-2.0
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { periodic } from '../../core/periodic.ts'
import { createNoteSigner } from '../../core/tlog/note.ts'
import { GrowingTree } from '../log/tiles.ts'
import { LogFiles } from './log-files.ts'
import type { AuditThreadData, FromThread, ToThread } from './protocol.ts'
import { Wal } from './wal.ts'

if (parentPort === null) throw new TypeError('this module runs in a thread')
const port = parentPort
const { folder, origin, seed, checkpointMs } = workerData as AuditThreadData
const tree = new GrowingTree()
const files = new LogFiles(folder, createNoteSigner(origin, Buffer.from(seed)), {
  tree,
  bundle: [],
})
const wal = new Wal(folder, 0)
/** Durable entries that are not yet in the tree. */
let waiting: Buffer[] = []
/** After a failed sync the state of the disk is unknown, so nothing more is written. */
let failure: string | undefined
let published = -1

const say = (message: FromThread) => {
  port.postMessage(message)
}

type Batch = Extract<ToThread, { kind: 'append' }>

function append(batches: readonly Batch[]): void {
  const [first] = batches
  const last = batches.at(-1)
  if (first === undefined || last === undefined) return
  const entries = batches.flatMap((batch) => batch.entries.map((one) => Buffer.from(one)))
  try {
    if (failure !== undefined) throw new Error(failure)
    wal.append(entries)
    waiting.push(...entries)
    say({ kind: 'durable', upTo: last.ticket })
  } catch (error) {
    const why = describe(error)
    if (isSyncFailure(error)) failure = why
    say({ kind: 'refused', from: first.ticket, upTo: last.ticket, why })
  }
}

function isSyncFailure(error: unknown): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === 'EIO'
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** Takes every batch that has arrived, so that one sync covers all of them. */
function take(message: ToThread): void {
  const batches: Batch[] = []
  let isClosing = false
  for (let next: ToThread | undefined = message; next !== undefined;) {
    if (next.kind === 'append') batches.push(next)
    else isClosing = true
    const received = receiveMessageOnPort(port) as { readonly message: ToThread } | undefined
    next = received?.message
  }
  append(batches)
  if (isClosing) void close()
  // Failing is harmless: the append that needs the segment creates it itself.
  else wal.prepare().catch(() => undefined)
}

async function publish(): Promise<void> {
  files.append(waiting)
  waiting = []
  if (files.size === published) return
  await files.publish()
  published = files.size
  say({ kind: 'published', ...head() })
  if (wal.hasFullSegments) await syncAndRetire()
}

async function syncAndRetire(): Promise<void> {
  const { size } = files
  await files.sync()
  wal.retire(size)
}

function head() {
  return { size: tree.size, root: tree.root().toString('base64') }
}

const publishing = periodic({
  intervalMs: checkpointMs,
  work: publish,
  onError: (error) => {
    say({ kind: 'unpublished', why: describe(error) })
  },
})

async function close(): Promise<void> {
  await publishing.stop()
  try {
    await publish()
    await files.sync()
    wal.remove()
  } catch (error) {
    // The write-ahead log stays in place, and the next start applies it.
    say({ kind: 'unpublished', why: describe(error) })
  }
  say({ kind: 'closed', ...head() })
  port.close()
}

port.on('message', take)
say({ kind: 'ready' })
