/** Tampers with a log in more than a hundred ways, and checks that the verifier locates each change. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parseCheckpoint } from '../../src/core/tlog/checkpoint.ts'
import { decodeBundle, encodeBundle, TILE_WIDTH } from '../../src/audit/log/tiles.ts'
import { verifyLog, type KnownHead } from '../../src/audit/reader/verify-log.ts'
import { decryptRecord, looseLog } from '../support/audit.ts'
import { eventually } from '../support/server.ts'

const RECORDS = 700

interface Tampering {
  readonly name: string
  /** File that was changed, if the problem must be located in it. */
  readonly file?: string
  readonly apply: (folder: string) => void
  /** Index of the entry that the verifier must report; absent if it reports none. */
  readonly index?: number
}

const change = (folder: string, name: string, edit: (bytes: Buffer) => Buffer) => {
  const path = join(folder, name)
  writeFileSync(path, edit(readFileSync(path)))
}

const flip = (at: number) => (bytes: Buffer) => {
  const position = at < 0 ? bytes.length + at : at % bytes.length
  bytes.writeUInt8(bytes.readUInt8(position) ^ (1 << (at & 7)), position)
  return bytes
}

function editEntries(edit: (entries: Buffer[]) => Buffer[]) {
  return (bytes: Buffer) => encodeBundle(edit([...(decodeBundle(bytes) ?? [])]))
}

/** Returns the indexes of the entries that a bundle, or a tile on the lowest level, covers. */
function entriesIn(file: string): { readonly first: number; readonly end: number } | undefined {
  const number = /^tile\/(?:entries|0)\/(\d+)/.exec(file)?.[1]
  if (number === undefined) return undefined
  const first = Number(number) * TILE_WIDTH
  return { first, end: first + TILE_WIDTH }
}

void t.test('every kind of tampering is detected and located', async (t) => {
  const { log, folder, stop, verify, copy, publicKey } = await looseLog(t)
  const foreign = await looseLog(t)
  for (let i = 0; i < RECORDS; i++) {
    log.record(decryptRecord(`id-${String(i)}`))
    foreign.log.record(decryptRecord(`other-${String(i)}`))
  }
  await stop()
  await foreign.stop()
  t.match(await verify(), { problems: [], size: RECORDS + 2, requests: RECORDS })
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) =>
    statSync(join(folder, name)).isFile(),
  )
  const checked = files.filter((name) => name !== 'log.vkey')
  const bundles = checked.filter((name) => name.startsWith('tile/entries/')).sort()
  const [first = '', second = ''] = bundles
  const swap = (a: number, b: number) =>
    editEntries((entries) => {
      const [one, other] = [entries[a], entries[b]]
      return one && other ? entries.with(a, other).with(b, one) : entries
    })
  const tamperings: Tampering[] = [
    ...checked.flatMap((name) => [
      ...[0, 1, 3, 17, 99, -3, -2, -1].map((at) => ({
        ...{ name: `flip byte ${String(at)} of ${name}`, file: name },
        apply: (copied: string) => {
          change(copied, name, flip(at))
        },
      })),
      {
        ...{ name: `delete ${name}`, file: name },
        apply: (copied: string) => {
          rmSync(join(copied, name))
        },
      },
      {
        ...{ name: `empty ${name}`, file: name },
        apply: (copied: string) => {
          writeFileSync(join(copied, name), '')
        },
      },
      {
        ...{ name: `cut ${name} short`, file: name },
        apply: (copied: string) => {
          change(copied, name, (bytes) => bytes.subarray(0, -2))
        },
      },
      {
        ...{ name: `put ${name} of another log`, file: name },
        apply: (copied: string) => {
          copyFileSync(join(foreign.folder, name), join(copied, name))
        },
      },
    ]),
    ...[0, 5, 100, 255].map((index) => ({
      ...{ name: `change entry ${String(index)}`, index },
      apply: (copied: string) => {
        change(
          copied,
          first,
          editEntries((entries) => entries.with(index, Buffer.from('{"kind":"request"}'))),
        )
      },
    })),
    ...[256, 300].map((index) => ({
      ...{ name: `drop entry ${String(index)}`, index: 256 },
      apply: (copied: string) => {
        change(
          copied,
          second,
          editEntries((entries) => entries.toSpliced(index - 256, 1)),
        )
      },
    })),
    ...[1, 9, 30].map((index) => ({
      ...{ name: `swap entries ${String(index)} and ${String(index + 1)}`, index },
      apply: (copied: string) => {
        change(copied, first, swap(index, index + 1))
      },
    })),
    ...[0, 7, 255].map((index) => ({
      ...{ name: `insert an entry at ${String(index)}`, index },
      apply: (copied: string) => {
        change(
          copied,
          first,
          editEntries((entries) => entries.toSpliced(index, 0, Buffer.from('{"kind":"request"}'))),
        )
      },
    })),
    ...[1, 128].map((index) => ({
      ...{ name: `repeat entry ${String(index - 1)} in place of ${String(index)}`, index },
      apply: (copied: string) => {
        change(
          copied,
          first,
          editEntries((entries) => entries.with(index, entries[index - 1] ?? Buffer.alloc(0))),
        )
      },
    })),
    ...[10, 200].map((index) => ({
      ...{ name: `splice entries of another log in from ${String(index)}`, index },
      apply: (copied: string) => {
        const others = decodeBundle(readFileSync(join(foreign.folder, first))) ?? []
        change(
          copied,
          first,
          editEntries((entries) => [...entries.slice(0, index), ...others.slice(index)]),
        )
      },
    })),
    {
      ...{ name: 'swap two bundles', index: 0 },
      apply: (copied) => {
        const bytes = readFileSync(join(copied, first))
        writeFileSync(join(copied, first), readFileSync(join(copied, second)))
        writeFileSync(join(copied, second), bytes)
      },
    },
    {
      name: 'an invented checkpoint',
      apply: (copied) => {
        change(copied, 'checkpoint', (bytes) => {
          const lines = bytes.toString().split('\n')
          return Buffer.from(lines.with(2, randomBytes(32).toString('base64')).join('\n'))
        })
      },
    },
  ]
  t.ok(tamperings.length > 100, `${String(tamperings.length)} kinds`)
  let number = 0
  for (const { name, file, apply, index } of tamperings) {
    const copied = await copy(`copy-${String(number++)}`)
    apply(copied)
    const { problems } = await verifyLog(copied, { publicKey })
    const [problem] = problems
    // Every problem names an entry, except an invalid signature, which affects the entire log.
    const isPlaced = problem?.kind === 'signature' || problem?.index !== undefined
    t.ok(isPlaced, `${name}: ${JSON.stringify(problem)}`)
    if (index !== undefined) t.equal(problem?.index, index, name)
    const range = file === undefined ? undefined : entriesIn(file)
    const found = problem?.index ?? NaN
    if (range !== undefined) t.ok(found >= range.first && found < range.end, `${name}: the place`)
    rmSync(copied, { recursive: true })
  }
})

void t.test(
  'an older copy and a forked history are detected with externally stored heads',
  async (t) => {
    const { log, folder, stop, copy, publicKey, verify } = await looseLog(t)
    const headOf = (path: string): KnownHead => {
      const [text = ''] = readFileSync(join(path, 'checkpoint'), 'utf8').split('\n\n')
      const found = parseCheckpoint(`${text}\n`)
      if (found === undefined) throw new TypeError('no checkpoint')
      return { ...found, source: 'the store' }
    }
    for (let i = 0; i < 300; i++) log.record(decryptRecord(`id-${String(i)}`))
    await eventually(() => log.stats().published === 301)
    const older = await copy('older')
    for (let i = 0; i < 300; i++) log.record(decryptRecord(`late-${String(i)}`))
    await stop()
    const [before, now] = [headOf(older), headOf(folder)]
    t.match((await verify()).problems, [])
    t.match(await verifyLog(folder, { publicKey, known: () => ({ heads: [before, now] }) }), {
      problems: [],
    })
    t.match(
      (await verifyLog(older, { publicKey, known: () => ({ heads: [before] }) })).problems,
      [],
    )
    t.match((await verifyLog(older, { publicKey, known: () => ({ heads: [now] }) })).problems, [
      { kind: 'rolled-back', index: 301 },
    ])
    const forged = { ...before, root: randomBytes(32) }
    t.match((await verifyLog(folder, { publicKey, known: () => ({ heads: [forged] }) })).problems, [
      { kind: 'forked' },
    ])
    t.ok(existsSync(join(folder, 'tile/entries/001')))
  },
)
