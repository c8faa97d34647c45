/** Tests signed notes, checkpoints and proofs against the examples in their specifications. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import t from 'tap'
import {
  encodeProof,
  openCheckpoint,
  parseCheckpoint,
  parseProof,
  signCheckpoint,
  verifyProof,
} from '../../../src/core/tlog/checkpoint.ts'
import { hashLeaf, proveInclusion } from '../../../src/core/tlog/merkle.ts'
import {
  createNoteSigner,
  type NoteKey,
  parseNote,
  parseVerifierKey,
  verifyNote,
} from '../../../src/core/tlog/note.ts'
import { GrowingTree, readNodes } from '../../../src/audit/log/tiles.ts'

function key(text: string): NoteKey {
  const parsed = parseVerifierKey(text)
  if (parsed === undefined) throw new TypeError(text)
  return parsed
}

/** The example from c2sp.org/signed-note. */
const VERIFIER = 'example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k'
const NOTE = `This is an example message.

\u2014 example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
`

void t.test('the example of the specification verifies, and a changed one does not', (t) => {
  const note = parseNote(NOTE)
  const foo = key(VERIFIER)
  t.ok(note)
  if (note === undefined) return
  t.same(verifyNote(note, [foo]), [foo])
  t.equal(verifyNote({ ...note, text: 'This is an example Message.\n' }, [foo]), undefined)
  t.same(verifyNote(note, []), [], 'signatures of unknown keys are ignored')
  t.end()
})

void t.test('malformed notes and keys are refused', (t) => {
  for (const text of [
    '',
    'text\n',
    NOTE.slice(0, -1),
    NOTE.replace('message.', 'message.\r'),
    NOTE.replace('\u2014', '-'),
    NOTE.replace('aQM=', 'aQM'),
    NOTE.replace('example.com/foo Uw', 'example.com/f+o Uw'),
  ])
    t.equal(parseNote(text), undefined, JSON.stringify(text))
  for (const text of [
    VERIFIER.replace('530d903a', '530d903b'),
    VERIFIER.replace('+A', '+B'),
    VERIFIER.replace('foo', 'f o'),
    VERIFIER.slice(0, -4),
    '',
  ])
    t.equal(parseVerifierKey(text), undefined, text)
  t.throws(() => createNoteSigner('a b', randomBytes(32)), RangeError)
  t.end()
})

void t.test(
  'a checkpoint opens with the key of its log, and lists the witnesses that cosigned it',
  (t) => {
    const log = createNoteSigner('example.com/log', randomBytes(32))
    const witness = createNoteSigner(
      'w.example',
      randomBytes(32),
      'cosignature',
      () => 1_679_315_147_000,
    )
    const head = { size: 3, root: randomBytes(32) }
    const signed = signCheckpoint(head, log)
    const text = parseNote(signed)?.text ?? ''
    const cosigned = signed + witness.sign(text)
    const keys = [key(log.verifierKey), key(witness.verifierKey)] as const
    t.match(openCheckpoint(signed, keys[0]), { ...head, origin: 'example.com/log', witnesses: [] })
    t.same(openCheckpoint(cosigned, keys[0], [keys[1]])?.witnesses, [keys[1]])
    t.same(openCheckpoint(cosigned, keys[0])?.witnesses, [])
    const other = createNoteSigner('example.com/log', randomBytes(32))
    t.equal(openCheckpoint(signed, key(other.verifierKey)), undefined)
    t.equal(openCheckpoint(signed.replace('\n3\n', '\n4\n'), keys[0]), undefined)
    // The signature also covers the timestamp.
    const shifted = cosigned.trimEnd().split(' ')
    const bytes = Buffer.from(shifted.at(-1) ?? '', 'base64')
    bytes.writeUInt8(bytes.readUInt8(11) ^ 1, 11)
    const forged = `${[...shifted.slice(0, -1), bytes.toString('base64')].join(' ')}\n`
    t.equal(openCheckpoint(forged, keys[0], [keys[1]]), undefined)
    t.end()
  },
)

void t.test('malformed checkpoints are refused', (t) => {
  const root = Buffer.alloc(32).toString('base64')
  t.ok(parseCheckpoint(`o\n0\n${root}\nextension\n`))
  for (const text of [
    `o\n01\n${root}\n`,
    `o\n-1\n${root}\n`,
    `o\n9007199254740993\n${root}\n`,
    `o\n1\n${root.slice(4)}\n`,
    `\n1\n${root}\n`,
    `o\n1\n${root}`,
    `o\n1\n${root}\n\nextension\n`,
  ])
    t.equal(parseCheckpoint(text), undefined, JSON.stringify(text))
  t.end()
})

void t.test('a proof is checked offline, and changing any byte invalidates it', (t) => {
  const log = createNoteSigner('example.com/log', randomBytes(32))
  const tree = new GrowingTree()
  const entries = Array.from({ length: 7 }, (_, i) => Buffer.from(`entry ${String(i)}`))
  for (const entry of entries) tree.append(entry)
  const node = readNodes(7, () => entries.map(hashLeaf))
  const index = 5
  const extra = entries[index] ?? Buffer.alloc(0)
  const text = encodeProof({
    ...{ index, extra, hashes: proveInclusion(node, index, 7) },
    checkpoint: signCheckpoint({ size: 7, root: tree.root() }, log),
  })
  const own = key(log.verifierKey)
  const verify = (one: string, entry = extra) => {
    const proof = parseProof(one)
    return proof === undefined ? undefined : verifyProof(proof, entry, own)
  }
  t.match(verify(text), { size: 7, origin: 'example.com/log' })
  t.equal(verify(text, Buffer.from('entry 4')), undefined)
  const at = text.indexOf('index')
  for (let i = 0; i < text.length; i++) {
    // Changes to the extra line need not be detected: it is not authenticated, and an auditor compares it with the
    // entry.
    if (i < at && i > 25) continue
    const other = text[i] === 'A' ? 'B' : 'A'
    t.equal(verify(text.slice(0, i) + other + text.slice(i + 1)), undefined, `byte ${String(i)}`)
  }
  for (const bad of ['', 'c2sp.org/tlog-proof@v1\n\n', text.replace('index 5', 'index 05')])
    t.equal(parseProof(bad), undefined)
  t.end()
})
