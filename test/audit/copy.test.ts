/** Tests copying logs: a dishonest source is detected, and the copy keeps everything it has already verified. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { GrowingTree } from '../../src/audit/log/tiles.ts'
import { copyLog } from '../../src/audit/reader/log-copy.ts'
import type { ProblemKind } from '../../src/audit/reader/problem.ts'
import { LogFiles } from '../../src/audit/writer/log-files.ts'
import { createNoteSigner } from '../../src/core/tlog/note.ts'
import { createSigner } from '../../src/core/signature.ts'
import { temporaryFolder } from '../support/cli.ts'
import { readPlainly } from '../support/audit.ts'

const store = createSigner(randomBytes(32), 'audit')
const { publicKey } = store

/** Creates the files of a log that grows to each given size, and saves a copy at each step. */
async function makeLog(root: string, name: string, sizes: readonly number[], word = 'entry') {
  const origin = `latchkey/test/audit/${name}`
  const signer = createNoteSigner(origin, Buffer.alloc(32, name))
  const folder = join(root, `${word}-${name}`)
  await mkdir(folder)
  const { verifierKey } = signer
  const certificate = store.sign({ kind: 'audit log', origin, verifierKey, host: 'host' })
  await writeFile(join(folder, 'certificate.json'), JSON.stringify(certificate))
  const files = new LogFiles(folder, signer, { tree: new GrowingTree(), bundle: [] })
  const states = new Map<number, string>()
  for (const size of sizes) {
    const count = size - files.size
    files.append(
      Array.from({ length: count }, (_, i) => Buffer.from(`{"${word}":${String(size + i)}}`)),
    )
    await files.publish()
    const state = `${folder}-${String(size)}`
    await cp(folder, state, { recursive: true })
    states.set(size, state)
  }
  return (size: number) => states.get(size) ?? ''
}

type Edit = (path: string, bytes: Buffer | undefined) => Buffer | undefined

function copyFrom(from: string, to: string, edit: Edit = (_, bytes) => bytes) {
  const read = async (path: string) =>
    edit(path, await readFile(join(from, path)).catch(() => undefined))
  return copyLog(to, { read, publicKey })
}

function filesOf(folder: string): ReadonlyMap<string, string> {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  const files = names.filter((name) => statSync(join(folder, name)).isFile())
  return new Map(files.map((name) => [name, readFileSync(join(folder, name), 'latin1')]))
}

const flip =
  (name: string): Edit =>
  (path, bytes) => {
    if (path === name && bytes !== undefined) bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1
    return bytes
  }
const without =
  (...names: readonly string[]): Edit =>
  (path, bytes) =>
    names.includes(path) ? undefined : bytes

void t.test('a copy grows with its log and has identical files', async (t) => {
  const root = await temporaryFolder(t)
  const sizes = [0, 5, 256, 300, 600, 66_000]
  const log = await makeLog(root, 'log', sizes)
  const copy = join(root, 'log')
  for (const size of sizes) {
    t.equal(await copyFrom(log(size), copy), undefined, String(size))
    if (size > 0) t.equal(readPlainly(copy).length, size)
    t.equal(await copyFrom(log(size), copy), undefined, 'and once more')
  }
  const copied = filesOf(copy)
  for (const [name, bytes] of filesOf(log(66_000))) t.ok(copied.get(name) === bytes, name)
  const once = join(root, 'once', 'log')
  t.equal(await copyFrom(log(66_000), once), undefined, 'a copy of the whole log')
  t.same(new Set(filesOf(once).keys()), new Set([...filesOf(log(66_000)).keys(), 'log.vkey']))
  // A log deletes a partial bundle once the full bundle exists, even while a reader is copying it.
  const late = join(root, 'late', 'log')
  const checkpoint = await readFile(join(log(300), 'checkpoint'))
  const grown: Edit = (path, bytes) => (path === 'checkpoint' ? checkpoint : bytes)
  t.equal(await copyFrom(log(600), late, grown), undefined)
  t.equal(readPlainly(late).length, 300)
})

interface Lie {
  readonly name: string
  readonly kind: ProblemKind
  readonly edit?: Edit
  /** Folder to serve (default: the honest log with 600 entries). */
  readonly from?: string
}

void t.test(
  'a dishonest log changes nothing in the copy, and its checkpoint is kept',
  async (t) => {
    const root = await temporaryFolder(t)
    const log = await makeLog(root, 'log', [100, 300, 600])
    const fork = await makeLog(root, 'log', [300, 600], 'fork')
    const other = await makeLog(root, 'other', [600])
    const unsigned = Buffer.from(
      'latchkey/test/audit/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n',
    )
    const serve =
      (name: string, bytes: Buffer): Edit =>
      (path, honest) =>
        path === name ? bytes : honest
    const forgery = { kind: 'audit pruned', origin: 'latchkey/test/audit/log', entries: 512 }
    const forged = { statement: forgery, signature: Buffer.alloc(64).toString('base64') }
    const lies: readonly Lie[] = [
      {
        name: 'an unsigned checkpoint of size 0',
        kind: 'signature',
        edit: serve('checkpoint', unsigned),
      },
      {
        name: 'no checkpoint form',
        kind: 'signature',
        edit: serve('checkpoint', Buffer.from('x')),
      },
      { name: 'an earlier state', kind: 'rolled-back', from: log(100) },
      { name: 'another history', kind: 'forked', from: fork(600) },
      { name: 'another history of the same size', kind: 'forked', from: fork(300) },
      { name: 'another log', kind: 'signature', from: other(600) },
      { name: 'no certificate', kind: 'signature', edit: without('certificate.json') },
      { name: 'a changed certificate', kind: 'signature', edit: flip('certificate.json') },
      {
        ...{ name: 'an invented statement about pruning', kind: 'signature' },
        edit: serve('pruned.json', Buffer.from(JSON.stringify(forged))),
      },
      { name: 'a changed tile', kind: 'hash', edit: flip('tile/0/001') },
      { name: 'a changed partial tile', kind: 'root', edit: flip('tile/0/002.p/88') },
      { name: 'a changed upper tile', kind: 'root', edit: flip('tile/1/000.p/2') },
      { name: 'a changed bundle', kind: 'entry', edit: flip('tile/entries/001') },
      { name: 'a changed partial bundle', kind: 'entry', edit: flip('tile/entries/002.p/88') },
      { name: 'no tile', kind: 'file', edit: without('tile/0/001') },
      { name: 'no bundle', kind: 'file', edit: without('tile/entries/001') },
    ]
    for (const [i, { name, kind, edit, from = log(600) }] of lies.entries()) {
      const copy = join(root, String(i), 'log')
      t.equal(await copyFrom(log(300), copy), undefined)
      const before = filesOf(copy)
      t.match(await copyFrom(from, copy, edit), { kind }, name)
      const after = filesOf(copy)
      for (const [path, bytes] of before) t.ok(after.get(path) === bytes, `${name}: ${path}`)
      const kept = [...after.keys()].filter((path) => path.startsWith('checkpoint.refused-'))
      t.equal(kept.length, 1, name)
      t.match(await copyFrom(log(100), copy), { kind: 'rolled-back' }, `${name}, then a rollback`)
      t.equal(readPlainly(copy).length, 300)
      t.equal(await copyFrom(log(600), copy), undefined, `${name}, then the truth`)
      t.equal(readPlainly(copy).length, 600)
      // A first copy must detect the same problem, because it trusts nothing before verification.
      const fresh = join(root, `${String(i)}-fresh`, 'log')
      if (edit === undefined) continue
      t.match(await copyFrom(from, fresh, edit), { kind }, `${name}, at first`)
      t.notOk(existsSync(join(fresh, 'checkpoint')))
    }
    const copy = join(root, 'damaged', 'log')
    await copyFrom(log(300), copy)
    await writeFile(join(copy, 'checkpoint'), '')
    t.match(await copyFrom(log(100), copy), { kind: 'signature' }, 'damage is not a new copy')
    t.match(await copyFrom(other(600), join(root, 'control')), { kind: 'signature' })
  },
)
