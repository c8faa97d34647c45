/**
 * Tests the audit log's thread on a disk that fails or fills up: no plaintext is sent without its record in strict mode, the
 * log shows where entries are missing, and it is valid once the disk works again.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import { encodeBundle } from '../../src/audit/log/tiles.ts'
import { verifyLog } from '../../src/audit/reader/verify-log.ts'
import { encodeMark } from '../../src/audit/record.ts'
import { encodeRequest } from '../../src/audit/request-entry.ts'
import { readWal } from '../../src/audit/writer/wal-recovery.ts'
import type { FromThread, ToThread } from '../../src/audit/writer/protocol.ts'
import {
  decryptRecord,
  disown,
  type Entry,
  logsOf,
  longRecord,
  looseFolder,
  looseLog,
  publicKeyOf,
  readPlainly,
} from '../support/audit.ts'
import { cannotMountDevices, createFailingDevice } from '../support/failing-device.ts'
import { eventually, KEY_ID, startTestServer, type TestServer } from '../support/server.ts'
import { call, decryptBody, encryptBody, requestMetadata } from '../support/wire.ts'

const MODES = ['buffered', 'strict'] as const
const skip = cannotMountDevices
const MIB = 1024 * 1024

const idsOf = (entries: readonly Entry[]) =>
  new Set(entries.map(({ kmsRequestId }) => kmsRequestId))

/** Sends Decrypts, and keeps the ids of those whose plaintext was received. */
async function createCaller(server: TestServer) {
  const { json } = await call(server, `/keys/${KEY_ID}/encrypt`, encryptBody())
  const received: string[] = []
  const decrypt = async () => {
    const kmsRequestId = randomUUID()
    const body = decryptBody(json, {
      requestMetadata: requestMetadata('Decrypt', { kmsRequestId }),
    })
    const answer = await call(server, `/keys/${KEY_ID}/decrypt`, body)
    if ('plaintext' in answer.json) received.push(kmsRequestId)
    return answer
  }
  return {
    received,
    decrypt,
    decryptMany: (count: number) => Promise.all(Array.from({ length: count }, decrypt)),
  }
}

/** Waits until a log's last checkpoint covers more than this number of entries. */
async function waitForEntries(folder: string, count: number): Promise<void> {
  await eventually(() => {
    const [, size] = readFileSync(join(folder, 'checkpoint'), 'utf8').split('\n')
    return Number(size) > count
  })
}

for (const mode of MODES) {
  void t.test(`${mode}: syncs of the write-ahead log fail with EIO`, { skip }, async (t) => {
    const isStrict = mode === 'strict'
    const disk = await createFailingDevice(t)
    const server = await startTestServer(t, {
      config: { audit: { mode, folder: join(disk.folder, 'audit'), checkpointInterval: '100ms' } },
    })
    const caller = await createCaller(server)
    await caller.decryptMany(40)
    const before = [...caller.received]
    t.equal(before.length, 40)
    const [log = ''] = await logsOf(server.config)
    await waitForEntries(log, before.length)

    await disk.fail()
    const answers = await caller.decryptMany(20)
    for (const { status, json } of answers) {
      t.equal(status, isStrict ? 500 : 200)
      if (isStrict) t.same(Object.keys(json).sort(), ['errorMessage', 'errorName'])
    }
    t.equal((await call(server, `/keys/${KEY_ID}/encrypt`, encryptBody())).status, 200)
    const lines = (await server.stopAndReadLog()).map((line) => JSON.stringify(line))
    t.ok(
      lines.some((line) => line.includes('EIO')),
      'the operational log reports the failure',
    )
    await disk.repair()
    disown(log)
    await server.start()
    t.equal((await caller.decrypt()).status, 200)
    await server.stop()
    const publicKey = await publicKeyOf(server.config)
    const logs = await logsOf(server.config)
    t.equal(logs.length, 2)
    for (const one of logs) {
      t.match(await verifyLog(one, { publicKey }), { problems: [], isOpen: false })
    }
    const recorded = idsOf(logs.flatMap(readPlainly))
    const expected = isStrict ? caller.received : [...before, caller.received.at(-1)]
    t.same(
      expected.filter((id) => !recorded.has(String(id))),
      [],
    )
    t.match(
      readPlainly(log).at(-1),
      { kind: 'recovered' },
      'the log shows that entries are missing',
    )
  })
}

/** Starts a log on a disk that has room for one segment of the write-ahead log and some tiles. */
async function startOnFullDisk(t: Test) {
  const disk = await createFailingDevice(t)
  const ballast = join(disk.folder, 'ballast')
  writeFileSync(ballast, Buffer.alloc(36 * MIB))
  const loose = await looseLog(t, disk.folder)
  return { ...loose, ballast }
}

void t.test('buffered: a full disk loses entries, and the log counts them', { skip }, async (t) => {
  const { log, ballast, folder, stop, verify } = await startOnFullDisk(t)
  let count = 0
  for (; log.stats().lost === 0; count += 100) {
    for (let i = 0; i < 100; i++) log.record(longRecord(`id-${String(count + i)}`))
    await eventually(() => log.stats().queued === 0)
  }
  t.match(log.stats().failure, /ENOSPC/)
  rmSync(ballast)
  log.record(longRecord('written again'))
  await eventually(() => log.stats().failure === undefined && log.stats().queued === 0)
  const { lost } = log.stats()
  t.ok(lost > 0)
  await stop()
  t.match(await verify(), { problems: [], lost, requests: count + 1 - lost, isOpen: false })
  t.ok(idsOf(readPlainly(folder)).has('written again'))
})

void t.test(
  'strict: a full disk loses no entry that was reported as durable',
  { skip },
  async (t) => {
    const { log, ballast, folder, stop, verify } = await startOnFullDisk(t)
    const durable: string[] = []
    const write = async (id: string) => {
      await log.recordDurably(longRecord(id))
      durable.push(id)
    }
    let refused = 0
    for (let at = 0; refused === 0; at += 100) {
      const ids = Array.from({ length: 100 }, (_, i) => `id-${String(at + i)}`)
      const results = await Promise.allSettled(ids.map(write))
      refused = results.filter(({ status }) => status === 'rejected').length
    }
    rmSync(ballast)
    await write('written again')
    await stop()
    t.match(await verify(), {
      problems: [],
      lost: refused,
      requests: durable.length,
      isOpen: false,
    })
    t.same(idsOf(readPlainly(folder).filter(({ kind }) => kind === 'request')), new Set(durable))
  },
)

/** Starts a log's thread, without the event loop's side. */
async function startThread(t: Test, where: string) {
  const loose = await looseFolder(t, where)
  const { folder, origin, seed } = loose
  const thread = new Worker(new URL('../../src/audit/writer/thread.js', import.meta.url), {
    workerData: { folder, origin, seed, checkpointMs: 50 },
  })
  t.teardown(() => thread.terminate())
  const said: FromThread[] = []
  thread.on('message', (message: FromThread) => said.push(message))
  const send = (message: ToThread) => {
    thread.postMessage(message)
  }
  let ticket = 0
  return {
    ...loose,
    said: () => said,
    /** Returns true if the entries are on disk, and false if the thread refuses them. */
    async append(entries: readonly Buffer[]) {
      ticket += 1
      send({ kind: 'append', ticket, bytes: encodeBundle(entries), count: entries.length })
      const answer = () => said.find((one) => 'upTo' in one && one.upTo === ticket)?.kind
      await eventually(() => answer() !== undefined)
      return answer() === 'durable'
    },
    async close(endsInGap: boolean) {
      const ended = once(thread, 'exit')
      send({ kind: 'close', endsInGap })
      await ended
    },
  }
}

/** Starts a thread on a disk that has room for one segment of the write-ahead log. */
async function startThreadOnFullDisk(t: Test) {
  const disk = await createFailingDevice(t, 32)
  const ballast = join(disk.folder, 'ballast')
  writeFileSync(ballast, Buffer.alloc(16 * MIB))
  const thread = await startThread(t, disk.folder)
  const entries = [Buffer.from(encodeMark('start', { seq: 0, time: new Date(0).toISOString() }))]
  t.ok(await thread.append(entries))
  const entryAt = (seq: number) =>
    Buffer.from(encodeRequest(longRecord(`id-${String(seq)}`), { seq, lost: 0 }))
  return {
    ...{ ...thread, entries },
    /** Appends batches of this many entries until the thread refuses one. */
    async fill(width: number) {
      const next = () => Array.from({ length: width }, (_, i) => entryAt(entries.length + i))
      for (let batch = next(); await thread.append(batch); batch = next()) entries.push(...batch)
    },
    makeRoom() {
      rmSync(ballast)
    },
  }
}

const PREPARED = 'wal-next'

void t.test('the last entry is refused, and the disk has room again', { skip }, async (t) => {
  const { folder, entries, said, fill, makeRoom, close, recover, verify } =
    await startThreadOnFullDisk(t)
  // Single entries use up the rest of the segment.
  for (const width of [60, 1]) await fill(width)
  writeFileSync(join(folder, PREPARED), Buffer.alloc(MIB / 8))
  makeRoom()
  await close(true)
  t.match(said().slice(-2), [{ kind: 'published' }, { kind: 'closed' }])
  t.same(readWal(folder).entries, entries)
  t.notOk(existsSync(join(folder, PREPARED)))
  await recover()
  t.match(await verify(), { problems: [], requests: entries.length - 1, isOpen: false })
  t.match(readPlainly(folder).at(-1), { kind: 'recovered' }, 'the log shows the gap')
})

void t.test('an entry is refused, and the next one is written', { skip }, async (t) => {
  const { folder, entries, append, fill, makeRoom, close } = await startThreadOnFullDisk(t)
  await fill(60)
  const place = { seq: entries.length + 60, lost: 60 }
  t.ok(await append([Buffer.from(encodeRequest(decryptRecord('short'), place))]))
  makeRoom()
  await close(false)
  t.same(readWal(folder).entries, [], 'the log is complete without its write-ahead log')
})

void t.test('the sync of the tiles fails when the log closes', { skip }, async (t) => {
  const disk = await createFailingDevice(t)
  const thread = await startThread(t, disk.folder)
  const entries = Array.from({ length: 300 }, (_, i) => Buffer.from(`entry ${String(i)}`))
  t.ok(await thread.append(entries))
  await eventually(() => thread.said().some(({ kind }) => kind === 'published'))
  await disk.fail()
  await thread.close(false)
  t.ok(
    thread.said().some(({ kind }) => kind === 'unpublished'),
    'the failure is reported',
  )
  t.same(readWal(thread.folder).entries, entries, 'the write-ahead log still has the entries')
})
