/** Tests completing a log after a power failure, with a damaged write-ahead log, and after an interrupted recovery. */
// SPDX-License-Identifier: Apache-2.0
import { createHmac, randomBytes } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import t, { type Test } from 'tap'
import { encodeBundle, GrowingTree } from '../../src/audit/log/tiles.ts'
import { verifyLog } from '../../src/audit/reader/verify-log.ts'
import { encodeMark } from '../../src/audit/record.ts'
import { encodeRequest } from '../../src/audit/request-entry.ts'
import { LogFiles } from '../../src/audit/writer/log-files.ts'
import { createLogFolder, isOpenLog, signerOf } from '../../src/audit/writer/log-folder.ts'
import { recoverLogs } from '../../src/audit/writer/log-recovery.ts'
import { loadState } from '../../src/audit/writer/log-state.ts'
import { FRAME_HEAD_BYTES, readWal } from '../../src/audit/writer/wal-recovery.ts'
import { Wal } from '../../src/audit/writer/wal.ts'
import { createSigner } from '../../src/core/signature.ts'
import { decryptRecord, readPlainly } from '../support/audit.ts'
import { temporaryFolder } from '../support/cli.ts'

const SEGMENT_BYTES = 16 * 1024
const BATCH = 10

function entryAt(index: number): Buffer {
  return Buffer.from(
    index === 0
      ? encodeMark('start', { seq: 0, time: new Date(0).toISOString() })
      : encodeRequest(decryptRecord(`id-${String(index)}`), { seq: index, lost: 0 }),
  )
}

/**
 * Creates a log and leaves it open. The log is written as its thread would write it, but only when the test says so.
 */
async function openLog(t: Test) {
  const root = await temporaryFolder(t)
  const storeKey = randomBytes(32)
  const derive = (purpose: string) => createHmac('sha256', storeKey).update(purpose).digest()
  const certify = createSigner(randomBytes(32), 'audit')
  const { folder, certificate } = await createLogFolder({
    ...{ root, derive, certify, logId: 'log', storeId: 'test', host: 'host', pid: process.pid },
    ...{ worker: 0, version: '0', startedAt: new Date(0).toISOString() },
  })
  // Make the log's owner look like a process from before the last reboot.
  const owner = join(folder, 'owner.json')
  const facts = JSON.parse(readFileSync(owner, 'utf8')) as object
  writeFileSync(owner, JSON.stringify({ ...facts, boot: 'another' }))

  const signer = signerOf(derive, certificate.origin)
  const files = new LogFiles(folder, signer, { tree: new GrowingTree(), bundle: [] })
  const wal = new Wal(folder, 0, SEGMENT_BYTES)
  return {
    ...{ folder, files, signer },
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
    async syncAndRetire() {
      await files.sync()
      wal.retire(files.size)
      return rememberSynced(folder)
    },
    /** Ends a group of files. Returns a function that does to the files written later what a power failure would do. */
    mark() {
      files.mark()
      return rememberSynced(folder)
    },
    async syncOldest() {
      wal.retire(await files.syncOldest())
    },
    async recover() {
      const failures: unknown[] = []
      const onFailed = (_folder: string, error: unknown) => failures.push(error)
      const recovered = await recoverLogs({ root, host: 'host', derive, onFailed })
      return { recovered, failures }
    },
    segments: () => readdirSync(folder).filter((name) => name.startsWith('wal-')),
    verify: () => verifyLog(folder, { publicKey: certify.publicKey }),
  }
}

function filesOf(folder: string): ReadonlyMap<string, string> {
  const paths = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile())
  const versionOf = (path: string) => {
    const { ino, mtimeNs } = statSync(path, { bigint: true })
    return `${String(ino)} ${String(mtimeNs)}`
  }
  return new Map(paths.map((path) => [path, versionOf(path)]))
}

/**
 * Returns a function that simulates a power failure: files that were written after this call keep their names, but lose
 * their data. The write-ahead log loses nothing, because it syncs itself.
 */
function rememberSynced(folder: string): () => void {
  const synced = filesOf(folder)
  return () => {
    for (const [path, version] of filesOf(folder)) {
      if (!basename(path).startsWith('wal-') && synced.get(path) !== version) truncateSync(path)
    }
  }
}

type OpenLog = Awaited<ReturnType<typeof openLog>>

async function checkRecovers(t: Test, log: OpenLog, size: number) {
  const { recovered, failures } = await log.recover()
  t.same(failures, [])
  t.match(recovered, [{ size: size + 1, discardedBytes: 0 }])
  t.same(
    readPlainly(log.folder).slice(0, -1),
    Array.from({ length: size }, (_, i) => JSON.parse(entryAt(i).toString()) as unknown),
  )
  t.match(await log.verify(), { problems: [], requests: size - 1, isOpen: false })
  t.same(log.segments(), [])
}

const FAILURES: readonly { readonly synced: number; readonly later: readonly number[] }[] = [
  // The tiles written after the last sync are wider than the synced ones.
  { synced: 300, later: [310, 330] },
  // The tiles written after the last sync are full.
  { synced: 300, later: [520] },
  { synced: 300, later: [400, 512, 700, 1030] },
  { synced: 512, later: [513, 600] },
]

for (const { synced, later } of FAILURES) {
  const sizes = later.join(', ')
  const name = `the power fails after a sync at ${String(synced)} and checkpoints at ${sizes}`
  void t.test(name, async (t) => {
    const log = await openLog(t)
    log.grow(synced)
    const failPower = await log.syncAndRetire()
    for (const size of later) log.grow(size)
    t.ok((readWal(log.folder).start ?? 0) > synced - 50, 'the earlier entries are only in tiles')
    failPower()
    await checkRecovers(t, log, log.files.size)
  })
}

void t.test(
  'the power fails while some groups of files are synced, and others are not',
  async (t) => {
    const sizes = [300, 520, 800, 1030]
    for (const synced of [0, 2]) {
      const log = await openLog(t)
      const failures = sizes.map((size) => {
        log.grow(size)
        return log.mark()
      })
      log.grow(1100)
      for (let i = 0; i <= synced; i++) await log.syncOldest()
      failures[synced]?.()
      const start = readWal(log.folder).start ?? 0
      const size = sizes[synced] ?? 0
      t.ok(start > size - 50 && start <= size, 'the earlier entries are only in tiles')
      await checkRecovers(t, log, 1100)
    }
  },
)

void t.test('a group that could not be synced is synced later', async (t) => {
  const log = await openLog(t)
  log.grow(300)
  log.mark()
  const path = join(log.folder, 'tile', '0', '000')
  const bytes = readFileSync(path)
  rmSync(path)
  // Opening the link fails with ELOOP. Only ENOENT would mean that the file is no longer needed.
  symlinkSync('000', path)
  await t.rejects(log.files.syncOldest(), { code: 'ELOOP' })
  rmSync(path)
  writeFileSync(path, bytes)
  t.equal(await log.files.syncOldest(), 300)
  t.equal(await log.files.syncOldest(), 300, 'nothing is left')
})

void t.test('the power fails again during the recovery', async (t) => {
  for (const size of [310, 520]) {
    const log = await openLog(t)
    log.grow(300)
    const failPower = await log.syncAndRetire()
    log.grow(size)
    failPower()
    const { start = 0, entries } = readWal(log.folder)
    const files = new LogFiles(log.folder, log.signer, loadState(log.folder, start))
    const mark = encodeMark('recovered', { entries: entries.length, discardedBytes: 0 })
    files.append([...entries, Buffer.from(mark)])
    files.publishNow()
    failPower()
    await checkRecovers(t, log, size)
  }
})

void t.test('a partial tile of the last synced tree remains until the next sync', async (t) => {
  const log = await openLog(t)
  const widths = (tile: string) => {
    const partials = join(log.folder, 'tile', `${tile}.p`)
    return existsSync(partials) ? readdirSync(partials) : []
  }
  log.grow(300)
  await log.syncAndRetire()
  log.grow(520)
  log.grow(600)
  for (const level of ['0', 'entries']) {
    t.same(widths(`${level}/001`), ['44'])
    t.same(widths(`${level}/002`).sort(), ['8', '88'])
  }
  log.grow(800)
  for (const level of ['0', 'entries']) t.same(widths(`${level}/002`), [], 'no sync covers these')
  await log.syncAndRetire()
  for (const level of ['0', 'entries']) t.same(widths(`${level}/001`), [])
  const files = new LogFiles(log.folder, log.signer, loadState(log.folder, 800))
  files.append(Array.from({ length: 300 }, (_, i) => entryAt(800 + i)))
  await files.publish()
  for (const level of ['0', 'entries']) t.same(widths(`${level}/003`), [], 'publish syncs')
})

const DAMAGE: Readonly<Record<string, (bytes: Buffer) => Buffer>> = {
  'a later format': (bytes) => Buffer.concat([Buffer.from('LKAUDIT3'), bytes.subarray(8)]),
  'another index': (bytes) =>
    Buffer.concat([bytes.subarray(0, 15), Buffer.of(255), bytes.subarray(16)]),
  'no magic': (bytes) => Buffer.concat([Buffer.alloc(16), bytes.subarray(16)]),
  'no header': (bytes) => bytes.subarray(0, 8),
  'no bytes': () => Buffer.alloc(0),
}

for (const [name, damage] of Object.entries(DAMAGE)) {
  void t.test(`a segment with ${name} leaves the log open`, async (t) => {
    for (const which of [0, -1]) {
      const log = await openLog(t)
      log.grow(100)
      t.ok(log.segments().length > 2)
      const segment = log.segments().sort().at(which) ?? ''
      const path = join(log.folder, segment)
      writeFileSync(path, damage(readFileSync(path)))
      const before = filesOf(log.folder)
      const { recovered, failures } = await log.recover()
      t.same(recovered, [])
      t.match(failures, [{ code: 'AUDIT_INVALID', message: `${segment} is damaged` }])
      t.same(filesOf(log.folder), before)
      t.ok(isOpenLog(log.folder))
    }
  })
}

void t.test('a recovery that ended while it removed segments is not repeated', async (t) => {
  const log = await openLog(t)
  log.grow(100)
  const [first = '', ...others] = log.segments().sort()
  // A folder cannot be removed like a segment file, so the removal stops here.
  const obstacle = join(log.folder, `${first}-obstacle`)
  mkdirSync(obstacle)
  const { recovered, failures } = await log.recover()
  t.equal(failures.length, 1)
  t.same(log.segments().sort(), [`${first}-obstacle`, ...others])
  rmdirSync(obstacle)
  const checkpoint = readFileSync(join(log.folder, 'checkpoint'), 'utf8')
  const again = await log.recover()
  t.equal(readFileSync(join(log.folder, 'checkpoint'), 'utf8'), checkpoint, 'the same tree')
  t.match(recovered, [{ entries: 100, size: 101 }])
  t.same(again, { recovered: [], failures: [] })
  t.same(log.segments(), [])
  t.match(await log.verify(), { problems: [], requests: 99, isOpen: false })
})
