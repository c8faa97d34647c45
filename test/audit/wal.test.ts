/** Tests reading the write-ahead log that a crash left behind, in the current format and in the previous one. */
// SPDX-License-Identifier: Apache-2.0
import { createHmac, randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import t, { type Test } from 'tap'
import { encodeBundle } from '../../src/audit/log/tiles.ts'
import { encodeMark } from '../../src/audit/record.ts'
import { encodeRequest } from '../../src/audit/request-entry.ts'
import { verifyLog } from '../../src/audit/reader/verify-log.ts'
import { createLogFolder } from '../../src/audit/writer/log-folder.ts'
import { recoverLogs } from '../../src/audit/writer/log-recovery.ts'
import { FRAME_HEAD_BYTES, HEAD_BYTES, readWal } from '../../src/audit/writer/wal-recovery.ts'
import { Wal } from '../../src/audit/writer/wal.ts'
import { createSigner } from '../../src/core/signature.ts'
import { decryptRecord, looseLog, readPlainly } from '../support/audit.ts'
import { temporaryFolder } from '../support/cli.ts'

const SEGMENT_BYTES = 4096

const toFrame = (texts: readonly string[]) =>
  Buffer.concat([
    Buffer.alloc(FRAME_HEAD_BYTES),
    encodeBundle(texts.map((text) => Buffer.from(text))),
  ])

/** Writes batches and leaves the log as a crash would. Returns its folder and its first segment's path. */
async function write(t: Test, batches: readonly (readonly string[])[]) {
  const folder = await temporaryFolder(t)
  const wal = new Wal(folder, 0, SEGMENT_BYTES)
  for (const batch of batches) wal.append(toFrame(batch), batch.length)
  const segment = join(folder, 'wal-0000000000000000')
  return { folder, wal, segment, bytes: readFileSync(segment) }
}

const read = (folder: string) => {
  const { entries, ...rest } = readWal(folder)
  return { ...rest, entries: entries.map((entry) => entry.toString()) }
}

void t.test('every batch is read again, over any number of segments', async (t) => {
  const batches = Array.from({ length: 40 }, (_, i) =>
    Array.from({ length: 1 + (i % 4) }, (_, j) => `${String(i)}-${String(j)}`.repeat(60)),
  )
  const { folder, wal } = await write(t, batches)
  t.ok(readdirSync(folder).length > 3)
  t.same(read(folder), { start: 0, entries: batches.flat(), discardedBytes: 0 })
  t.equal(wal.end, batches.flat().length)
  t.same([wal.takeFilled(), wal.takeFilled()], [true, false])
  wal.retire(wal.end)
  const { start = 0, entries } = read(folder)
  t.ok(start > 0)
  t.same(entries, batches.flat().slice(start), 'the last segment remains')
})

void t.test('a batch larger than a segment is one frame', async (t) => {
  const batch = ['x'.repeat(60_000), 'y'.repeat(60_000)]
  const { folder, wal } = await write(t, [['before'], batch])
  wal.append(toFrame(['after']), 1)
  t.same(read(folder), { start: 0, entries: ['before', ...batch, 'after'], discardedBytes: 0 })
})

void t.test('a batch that a crash interrupted is discarded as a whole', async (t) => {
  const { folder, segment, bytes } = await write(t, [
    ['one', 'two'],
    ['three', 'four', 'five'],
  ])
  const end = bytes.lastIndexOf('five') + 'five'.length
  for (let lost = 1; lost <= 'five'.length; lost++) {
    const torn = Buffer.from(bytes)
    torn.fill(0, end - lost)
    writeFileSync(segment, torn)
    t.match(read(folder), { entries: ['one', 'two'] })
    t.ok(readWal(folder).discardedBytes > 0)
  }
  writeFileSync(segment, bytes)
  t.match(read(folder), { entries: ['one', 'two', 'three', 'four', 'five'], discardedBytes: 0 })
})

void t.test('a failed batch does not come back behind the one written in its place', async (t) => {
  const failed = await write(t, [['aaa'], ['bbb']])
  const good = await write(t, [['ccc']])
  const length = toFrame(['ccc']).length
  // Another frame of the same length overwrites the first frame of a failed write; the second frame is still there.
  good.bytes.copy(failed.bytes, 0, 0, HEAD_BYTES + length)
  writeFileSync(failed.segment, failed.bytes)
  const { entries, discardedBytes } = read(failed.folder)
  t.same(entries, ['ccc'])
  t.ok(discardedBytes > 0)
})

/** Returns a segment in the format of version 0.1, with one frame per entry. */
function oldSegment(entries: readonly string[]): Buffer {
  const head = Buffer.alloc(HEAD_BYTES)
  head.write('LKAUDIT1')
  const frames = entries.map((text, i) => {
    const entry = Buffer.from(text)
    const [index, frame] = [Buffer.alloc(8), Buffer.alloc(FRAME_HEAD_BYTES)]
    index.writeBigUInt64BE(BigInt(i))
    frame.writeUInt32BE(entry.length)
    frame.writeUInt32BE(crc32(entry, crc32(index)), 4)
    return Buffer.concat([frame, entry])
  })
  return Buffer.concat([head, ...frames, Buffer.alloc(1000)])
}

void t.test('a log that an earlier version left open is completed', async (t) => {
  const root = await temporaryFolder(t)
  const storeKey = randomBytes(32)
  const derive = (purpose: string) => createHmac('sha256', storeKey).update(purpose).digest()
  const certify = createSigner(randomBytes(32), 'audit')
  const { folder } = await createLogFolder({
    ...{ root, derive, certify, logId: 'log', storeId: 'test', host: 'host', pid: process.pid },
    ...{ worker: 0, version: '0', startedAt: new Date(0).toISOString() },
  })
  const entries = [
    encodeMark('start', { seq: 0, time: new Date(0).toISOString() }),
    ...Array.from({ length: 300 }, (_, i) =>
      encodeRequest(decryptRecord(`id-${String(i)}`), { seq: i + 1, lost: 0 }),
    ),
  ]
  writeFileSync(join(folder, 'wal-0000000000000000'), oldSegment(entries))
  // Make the log's owner look like a process from before the last reboot.
  const owner = join(folder, 'owner.json')
  const facts = JSON.parse(readFileSync(owner, 'utf8')) as object
  writeFileSync(owner, JSON.stringify({ ...facts, boot: 'another' }))
  const failures: unknown[] = []
  const onFailed = (_folder: string, error: unknown) => failures.push(error)
  const recovered = await recoverLogs({ root, host: 'host', derive, onFailed })
  t.same(failures, [])
  t.match(recovered, [{ entries: 301, discardedBytes: 0, size: 302 }])
  t.notOk(existsSync(owner))
  t.same(
    readPlainly(folder).slice(0, -1),
    entries.map((text) => JSON.parse(text) as unknown),
  )
  const report = await verifyLog(folder, { publicKey: certify.publicKey })
  t.match(report, { problems: [], requests: 300, isOpen: false })
})

void t.test('long entries fill slabs and segments, and none is lost', async (t) => {
  const { log, stop, verify } = await looseLog(t)
  const text = '\u0001'.repeat(2000)
  const count = 300
  const durable: Promise<void>[] = []
  for (let i = 0; i < count; i++) {
    const record = decryptRecord(`id-${String(i)}`)
    record.metadata = {
      ...{ kmsRequestId: `id-${String(i)}`, kmsOperation: text, awsPrincipalArn: text },
      ...{ awsSourceVpc: text, awsSourceVpce: text, kmsKeyArn: text },
    }
    if (i % 3 === 0) durable.push(log.recordDurably(record))
    else log.record(record)
  }
  await Promise.all(durable)
  await stop()
  t.match(log.stats(), { written: count + 2, lost: 0, queued: 0 })
  const report = await verify()
  t.same(report.problems, [])
  t.match(report, { requests: count, lost: 0 })
})
