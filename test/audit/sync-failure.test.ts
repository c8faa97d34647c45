/**
 * Tests failed syncs of tiles. After a failed sync, the kernel discards the data that it could not write, and reports
 * success for the next sync, so every file since the last successful sync has to be written again.
 */
// SPDX-License-Identifier: Apache-2.0
import { createHmac, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { encodeBundle, GrowingTree, TILE_WIDTH } from '../../src/audit/log/tiles.ts'
import { verifyLog } from '../../src/audit/reader/verify-log.ts'
import { encodeMark } from '../../src/audit/record.ts'
import { encodeRequest } from '../../src/audit/request-entry.ts'
import { createControlLogPublisher } from '../../src/audit/writer/control-log.ts'
import { LogFiles } from '../../src/audit/writer/log-files.ts'
import { createLogFolder, signerOf } from '../../src/audit/writer/log-folder.ts'
import { recoverLogs, reloadFiles } from '../../src/audit/writer/log-recovery.ts'
import { FRAME_HEAD_BYTES } from '../../src/audit/writer/wal-recovery.ts'
import { Wal } from '../../src/audit/writer/wal.ts'
import { createNoteSigner } from '../../src/core/tlog/note.ts'
import { createSigner } from '../../src/core/signature.ts'
import { decryptRecord, readPlainly } from '../support/audit.ts'
import { temporaryFolder } from '../support/cli.ts'
import { createFailingDisk } from '../support/failing-disk.ts'

const SEGMENT_BYTES = 16 * 1024
const BATCH = 10
const EIO = { code: 'EIO' }

function entryAt(index: number): Buffer {
  return Buffer.from(
    index === 0
      ? encodeMark('start', { seq: 0, time: new Date(0).toISOString() })
      : encodeRequest(decryptRecord(`id-${String(index)}`), { seq: index, lost: 0 }),
  )
}

/** Creates a log whose process appears to have exited, and writes it as its thread would. */
async function openLog(t: Test) {
  const root = await temporaryFolder(t)
  const storeKey = randomBytes(32)
  const derive = (purpose: string) => createHmac('sha256', storeKey).update(purpose).digest()
  const certify = createSigner(randomBytes(32), 'audit')
  const { folder, certificate } = await createLogFolder({
    ...{ root, derive, certify, logId: 'log', storeId: 'test', host: 'host', pid: process.pid },
    ...{ worker: 0, version: '0', startedAt: new Date(0).toISOString() },
  })
  const owner = join(folder, 'owner.json')
  const facts = JSON.parse(readFileSync(owner, 'utf8')) as object
  writeFileSync(owner, JSON.stringify({ ...facts, boot: 'another' }))
  const signer = signerOf(derive, certificate.origin)
  const disk = createFailingDisk()
  const wal = new Wal(folder, 0, SEGMENT_BYTES)
  let files = new LogFiles(folder, signer, { tree: new GrowingTree(), bundle: [] }, { disk })
  return {
    ...{ folder, disk, wal },
    files: () => files,
    grow(size: number) {
      while (files.size < size) {
        const count = Math.min(BATCH, size - files.size)
        const batch = Array.from({ length: count }, (_, i) => entryAt(files.size + i))
        wal.append(Buffer.concat([Buffer.alloc(FRAME_HEAD_BYTES), encodeBundle(batch)]), count)
        files.append(batch)
        files.writeFull()
      }
      files.publishNow()
    },
    async sync() {
      await files.sync()
      wal.retire(files.size)
    },
    reload() {
      files = reloadFiles({ folder, signer, end: wal.end, disk })
      files.publishNow()
    },
    async checkRecovers(size: number) {
      const onFailed = (_folder: string, error: unknown) => t.fail(String(error))
      const [recovered] = await recoverLogs({ root, host: 'host', derive, onFailed })
      t.match(recovered, { size: size + 1, discardedBytes: 0 })
      t.same(
        readPlainly(folder).slice(0, -1),
        Array.from({ length: size }, (_, i) => JSON.parse(entryAt(i).toString()) as unknown),
      )
      const report = await verifyLog(folder, { publicKey: certify.publicKey })
      t.match(report, { problems: [], requests: size - 1, isOpen: false })
    },
  }
}

/** Sizes of the tree at its last successful sync and at the sync that fails. */
const SIZES = [
  [300, 310],
  [300, 520],
] as const

/** Makes each sync of a group fail once, each time in a new log. */
async function forEachFailure(
  t: Test,
  check: (log: Awaited<ReturnType<typeof openLog>>, size: number) => Promise<void>,
) {
  for (const [synced, size] of SIZES) {
    const start = async () => {
      const log = await openLog(t)
      log.grow(synced)
      await log.sync()
      log.grow(size)
      return log
    }
    const whole = await start()
    whole.disk.failAfter(Infinity)
    await whole.sync()
    const syncs = whole.disk.syncs()
    t.ok(syncs > 5)
    for (let failing = 0; failing < syncs; failing++) {
      const log = await start()
      log.disk.failAfter(failing)
      await t.rejects(log.sync(), EIO)
      await check(log, size)
    }
  }
}

void t.test('after a failed sync, no later sync or checkpoint succeeds', async (t) => {
  await forEachFailure(t, async (log) => {
    const files = log.files()
    await t.rejects(files.syncOldest(), EIO)
    await t.rejects(files.sync(), EIO)
    await t.rejects(files.publish(), EIO)
    t.throws(() => {
      files.publishNow()
    }, EIO)
    t.match(files.syncFailure, EIO)
  })
})

void t.test('the reloaded files survive a power failure', async (t) => {
  await forEachFailure(t, async (log, size) => {
    log.reload()
    t.same(log.disk.lost(log.folder), [])
    await log.sync()
    t.equal(log.files().syncFailure, undefined)
    log.disk.failPower(log.folder)
    await log.checkRecovers(size)
  })
})

void t.test('the power fails before the reloaded files are synced', async (t) => {
  await forEachFailure(t, async (log, size) => {
    log.reload()
    log.disk.failPower(log.folder)
    await log.checkRecovers(size)
  })
})

void t.test('a recovery writes again what a failed sync of the process lost', async (t) => {
  let lost = 0
  await forEachFailure(t, async (log, size) => {
    lost += log.disk.lost(log.folder).length
    await log.checkRecovers(size)
    // The recovered log has one more entry, so it no longer uses the last partial tiles.
    const unused = `.p/${String(size % TILE_WIDTH)}`
    t.same(
      log.disk.lost(log.folder).filter((path) => !path.endsWith(unused)),
      [],
    )
  })
  t.ok(lost > 0, `${String(lost)} files would have been lost`)
})

/** Grows a log of 300 synced entries to 400, and publishes each batch. */
async function growSlowly(t: Test) {
  const log = await openLog(t)
  log.grow(300)
  await log.sync()
  for (let size = 300 + BATCH; size <= 400; size += BATCH) log.grow(size)
  return log
}

void t.test('a recovery does not read a partial tile that a failed sync lost', async (t) => {
  for (const tier of ['0', 'entries']) {
    const log = await growSlowly(t)
    const segments = readdirSync(log.folder).filter((name) => name.startsWith('wal-'))
    // The last segment remains, so the recovery starts from its first entry.
    const start = Math.max(...segments.map((name) => Number(name.slice('wal-'.length))))
    log.disk.failOn(join(log.folder, `tile/${tier}/001.p/${String(start - TILE_WIDTH)}`))
    await t.rejects(log.sync(), EIO)
    log.reload()
    await log.sync()
    log.disk.failPower(log.folder)
    await log.checkRecovers(400)
  }
})

void t.test('files are written again until the first successful sync', async (t) => {
  const log = await growSlowly(t)
  log.disk.failAfter(0)
  await t.rejects(log.sync(), EIO)
  log.reload()
  // The thread calls these functions instead of `sync`.
  log.files().mark()
  await log.files().syncOldest()
  log.disk.failAfter(Infinity)
  log.grow(410)
  t.equal(log.disk.syncs(), 0)
})

void t.test('a failed sync of a tile that is written again counts as such', async (t) => {
  const log = await growSlowly(t)
  log.disk.failAfter(0)
  await t.rejects(log.sync(), EIO)
  log.disk.failAfter(0)
  t.throws(() => {
    log.reload()
  }, EIO)
  t.match(log.files().syncFailure, EIO)
})

void t.test('files are not reloaded if the write-ahead log lacks entries', async (t) => {
  const log = await openLog(t)
  log.grow(300)
  log.disk.failAfter(0)
  await t.rejects(log.sync(), EIO)
  const segment = join(log.folder, 'wal-0000000000000000')
  const bytes = readFileSync(segment)
  bytes.fill(0, bytes.length / 2)
  writeFileSync(segment, bytes)
  t.throws(
    () => {
      log.reload()
    },
    { code: 'AUDIT_INVALID' },
  )
})

void t.test('the control log is written again after a failed sync', async (t) => {
  const root = await temporaryFolder(t)
  const signer = createNoteSigner('latchkey/test/control', randomBytes(32))
  const certify = createSigner(randomBytes(32), 'audit')
  const disk = createFailingDisk()
  const events: Buffer[] = []
  const add = (count: number) => {
    for (let i = 0; i < count; i++) {
      events.push(Buffer.from(JSON.stringify({ event: 'x', seq: events.length })))
    }
  }
  const publisher = createControlLogPublisher({
    ...{ root, signer, disk, onForked: (folder) => t.fail(folder) },
    certificate: certify.sign({
      ...{
        kind: 'control log',
        storeId: 'test',
        origin: 'latchkey/test/control',
        verifierKey: signer.verifierKey,
      },
    }),
    read(after) {
      const tree = new GrowingTree()
      for (const event of events) tree.append(event)
      const head = { size: tree.size, root: tree.root() }
      return Promise.resolve({ head, entries: events.slice(after) })
    },
  })
  const folder = join(root, 'control')
  for (let failing = 0; failing < 8; failing++) {
    add(300)
    disk.failAfter(failing)
    await t.rejects(publisher.publish(), EIO)
    await publisher.publish()
    t.same(disk.lost(folder), [])
    t.equal(readPlainly(folder).length, events.length)
  }
})
