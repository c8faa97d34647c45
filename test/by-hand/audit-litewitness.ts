/**
 * Lets litewitness of filippo.io/torchwood, which knows nothing of Latchkey, cosign checkpoints of our client, and refuse a
 * log that was rolled back or forked. Needs an ssh-agent:
 *
 *     go install filippo.io/torchwood/cmd/litewitness@v0.6.1
 *     npm run build:test && LITEWITNESS=$(go env GOPATH)/bin/litewitness node .test-build/test/by-hand/audit-litewitness.js
 *
 * test/audit/witness.test.ts does the same with our own witness.
 */
// SPDX-License-Identifier: Apache-2.0
import { execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import Sqlite from 'better-sqlite3'
import t, { type Test } from 'tap'
import { createWitnessClient, type WitnessOutcome } from '../../src/audit/witness/client.ts'
import { systemClock } from '../../src/core/clock.ts'
import { openCheckpoint, signCheckpoint } from '../../src/core/tlog/checkpoint.ts'
import {
  EMPTY_ROOT,
  hashLeaf,
  type NodeReader,
  nodesOf,
  rootOf,
} from '../../src/core/tlog/merkle.ts'
import { createNoteSigner, parseVerifierKey } from '../../src/core/tlog/note.ts'
import { parseLogPolicy } from '../../src/core/tlog/policy.ts'
import { temporaryFolder } from '../support/cli.ts'
import { eventually } from '../support/server.ts'

const run = promisify(execFile)
const LITEWITNESS = process.env['LITEWITNESS'] ?? 'litewitness'
const PORT = Number(process.env['PORT'] ?? 7391)
const NAME = 'witness.example.com/lw'

/** Starts a witness that knows the log. Returns its verifier key. */
async function startLitewitness(t: Test, origin: string, logKey: string): Promise<string> {
  const folder = await temporaryFolder(t)
  const [key, socket, db] = ['key', 'agent.sock', 'witness.db'].map((one) => join(folder, one))
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', String(key)])
  const agent = spawn('ssh-agent', ['-D', '-a', String(socket)], { stdio: 'ignore' })
  t.teardown(() => agent.kill())
  await eventually(() => existsSync(String(socket)))
  await run('ssh-add', [String(key)], {
    env: { ...process.env, SSH_AUTH_SOCK: String(socket) },
  })
  const { stdout } = await run('ssh-keygen', ['-lf', `${String(key)}.pub`])
  const words = ['-db', db, '-key', stdout.split(' ')[1], '-name', NAME, '-ssh-agent', socket]
  const witness = spawn(LITEWITNESS, [...words.map(String), '-listen', `127.0.0.1:${String(PORT)}`])
  t.teardown(() => witness.kill())
  let said = ''
  witness.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
  await eventually(() => said.includes('msg=listening'))
  // Does what the tool witnessctl would do, whose dependencies not every module proxy has.
  const database = new Sqlite(String(db))
  database
    .prepare('INSERT INTO log (origin, tree_size, tree_hash) VALUES (?, 0, ?)')
    .run(origin, EMPTY_ROOT.toString('base64'))
  database.prepare('INSERT INTO key (origin, key) VALUES (?, ?)').run(origin, logKey)
  database.close()
  return /vkey=(\S+)/.exec(said)?.[1] ?? ''
}

void t.test('litewitness cosigns what continues, and nothing else', async (t) => {
  const log = createNoteSigner('latchkey/0d0a/control', randomBytes(32))
  const vkey = await startLitewitness(t, log.name, log.verifierKey)
  const key = parseVerifierKey(vkey)
  const logKey = parseVerifierKey(log.verifierKey)
  if (key === undefined || logKey === undefined) throw new TypeError(`no key: ${vkey}`)
  const words = Array.from({ length: 1000 }, (_, i) => `entry ${String(i)}`)
  const toNodes = (entries: readonly string[]) =>
    nodesOf(entries.map((word) => hashLeaf(Buffer.from(word))))
  const truth = toNodes(words)
  const fork = toNodes(words.with(2, 'another entry'))
  const policy = parseLogPolicy(`witness lw ${vkey} http://127.0.0.1:${String(PORT)}\nquorum lw\n`)
  if (typeof policy === 'string') throw new TypeError(policy)
  let outcomes: readonly WitnessOutcome[] = []
  const clientOf = (node: NodeReader) => {
    const client = createWitnessClient({
      ...{ policy, timeoutMs: 10_000, clock: systemClock, openNodes: () => node },
      onAsked: (found) => {
        outcomes = found
      },
    })
    return async (size: number) => {
      const head = { size, root: rootOf(node, size) }
      const checkpoint = signCheckpoint(head, log)
      const lines = await client.ask(checkpoint, head)
      return openCheckpoint(checkpoint + lines.join(''), logKey, [key])?.witnesses.length
    }
  }
  const ask = clientOf(truth)
  for (const size of [0, 1, 2, 3, 8, 8, 255, 256, 257, 900]) {
    t.equal(await ask(size), 1, `${String(size)}: ${JSON.stringify(outcomes)}`)
  }
  const again = clientOf(truth)
  t.equal(await again(901), 1, 'a client that has forgotten the size')
  const liar = clientOf(fork)
  t.equal(await liar(1000), 0, 'forked')
  t.match(outcomes, [{ isConflict: true, failure: /status 422/ }])
  t.equal(await liar(901), 0, 'forked at the same size')
  t.match(outcomes, [{ isConflict: true }])
  t.equal(await liar(500), 0, 'rolled back')
  t.match(outcomes, [{ isConflict: true, failure: /it has cosigned 901 entries/ }])
  t.equal(await ask(1000), 1, 'the truth still continues')
})
