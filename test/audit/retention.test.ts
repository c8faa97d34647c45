/** Tests pruning: which entries are removed, that the remaining log verifies, and that any other gap is detected. */
// SPDX-License-Identifier: Apache-2.0
import {
  copyFileSync,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openLog } from '../../src/audit/reader/log-reader.ts'
import { checkProof, proveEntry } from '../../src/audit/reader/prove.ts'
import { countOlder, type PruneDetail, pruneLogs } from '../../src/audit/reader/retention.ts'
import { searchLog } from '../../src/audit/reader/search.ts'
import { verifyLog } from '../../src/audit/reader/verify-log.ts'
import { pruneLog } from '../../src/audit/writer/pruning.ts'
import { decryptRecord, looseLog } from '../support/audit.ts'
import { temporaryFolder } from '../support/cli.ts'
import { eventually } from '../support/server.ts'

const RECORDS = 700
const START = 1_790_000_000_000

void t.test('old entries are pruned, and the remaining log still verifies', async (t) => {
  const { log, folder, stop, copy, certify, publicKey } = await looseLog(t)
  for (let i = 0; i < RECORDS; i++) {
    log.record({ ...decryptRecord(`id-${String(i)}`), at: START + i })
  }
  await eventually(() => log.stats().published === RECORDS + 1)
  const older = async (before: number) => countOlder(await openLog(folder, publicKey), before)
  t.equal(await older(START), 0)
  // Entry 0 marks the start of the log, so bundle 0 ends with record 254.
  t.equal(await older(START + 254), 0)
  t.equal(await older(START + 255), 256)
  t.equal(await older(START + RECORDS), 512, 'the last bundle of an open log stays')
  await stop()
  t.equal(await older(START + RECORDS), RECORDS + 2, 'the last bundle of a closed log is full')

  const prune = async (path: string, entries: number, origin?: string) => {
    const opened = await openLog(path, publicKey)
    const statement = {
      ...{ kind: 'audit pruned' as const, origin: origin ?? opened.checkpoint.origin, entries },
      ...{ before: new Date(START).toISOString(), prunedAt: new Date(START).toISOString() },
      ...{ operator: 'alice', reason: 'test' },
    }
    await pruneLog(path, certify.sign(statement))
  }
  const verify = (path: string) => verifyLog(path, { publicKey })
  const unpruned = await copy('unpruned')
  await prune(folder, 512)
  t.notOk(existsSync(join(folder, 'tile/entries/000')))
  t.match(await verify(folder), { problems: [], pruned: 512, requests: 189, lost: 0 })
  const opened = await openLog(folder, publicKey)
  const found = [...searchLog(opened, {})]
  t.equal(found.length, 189)
  t.match(found[0], { index: 512, entry: { kmsRequestId: 'id-511' } })
  for (const { index, bytes } of found.slice(0, 3)) {
    const proof = await proveEntry(opened, index, bytes)
    t.match(checkProof(proof, publicKey), { index })
  }

  let number = 0
  const change = async (edit: (path: string) => void) => {
    const path = await copy(`changed-${String(number++)}`)
    edit(path)
    return (await verify(path)).problems
  }
  const edit = (name: string, from: string, to: string) => (path: string) => {
    const text = readFileSync(join(path, name), 'latin1')
    writeFileSync(join(path, name), text.replace(from, to), 'latin1')
  }
  const remove = (name: string) => (path: string) => {
    rmSync(join(path, name))
  }
  t.match(await change(remove('pruned.json')), [{ kind: 'file', index: 0 }])
  t.match(await change(edit('pruned.json', '"entries":512', '"entries":513')), [
    { kind: 'signature', message: /pruned.json is not signed/ },
  ])
  t.match(await change(remove('tile/entries/002.p/190')), [{ kind: 'file', index: 512 }])
  t.match(await change(remove('tile/0/001')), [{ kind: 'file', index: 256 }])
  const tile = readFileSync(join(folder, 'tile/0/001'), 'latin1')
  t.match(await change(edit('tile/0/001', tile.slice(64, 96), tile.slice(96, 128))), [
    { kind: 'hash', path: 'tile/1/000.p/2', index: 256 },
  ])
  const foreign = await copy('foreign')
  await prune(foreign, 512, 'latchkey/other/audit/log')
  t.match((await verify(foreign)).problems, [{ kind: 'signature' }])

  await t.test('a prune that was interrupted is completed by the next one', async (t) => {
    const root = await temporaryFolder(t)
    const path = join(root, 'log')
    cpSync(unpruned, path, { recursive: true })
    // Pruning writes the statement before it deletes files; recreate the state that a crash in between leaves behind.
    copyFileSync(join(folder, 'pruned.json'), join(path, 'pruned.json'))
    writeFileSync(join(path, 'tile/entries/001.new'), 'entries')
    const recorded: PruneDetail[] = []
    const run = (isConfirmed: boolean, before = START) => {
      const record = (_: string, detail: PruneDetail) => {
        recorded.push(detail)
        return Promise.resolve(START)
      }
      const order = { before, isConfirmed, operator: 'alice', reason: 'test' }
      return pruneLogs({ root, signer: certify, record }, order)
    }
    const names = () => readdirSync(join(path, 'tile/entries')).sort()
    const all = ['000', '001', '001.new', '002.p']
    t.match(await run(false), [{ entries: 512, prunedBefore: 512, leftOver: 3 }])
    t.same(names(), all, 'nothing is removed without confirmation')
    t.match(await run(true), [{ entries: 512, prunedBefore: 512, leftOver: 3 }])
    t.same(names(), ['002.p'])
    t.same(recorded, [], 'the control log has it already')
    t.same(await run(true), [], 'nothing is left to do')
    t.match(await run(true, START + RECORDS), [{ entries: RECORDS + 2, leftOver: 0 }])
    t.match(recorded, [{ entries: RECORDS + 2, reason: 'test' }])
    t.same(names(), [])
    t.match(await verify(path), { problems: [], pruned: RECORDS + 2 })
  })

  await prune(folder, RECORDS + 2)
  t.match(await verify(folder), { problems: [], pruned: RECORDS + 2, requests: 0, lost: 0 })
  t.same([...searchLog(await openLog(folder, publicKey), {})], [])
})
