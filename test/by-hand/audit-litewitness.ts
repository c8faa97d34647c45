/**
 * Tests our witness client against litewitness from filippo.io/torchwood, an independent implementation: it must cosign
 * our checkpoints and reject a log that was rolled back or forked. Requires an ssh-agent:
 *
 *     go install filippo.io/torchwood/cmd/litewitness@v0.6.1
 *     npm run build:test && LITEWITNESS=$(go env GOPATH)/bin/litewitness node .test-build/test/by-hand/audit-litewitness.js
 *
 * test/audit/witness.test.ts runs the same checks with our own witness.
 */
// SPDX-License-Identifier: Apache-2.0
import { execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import Sqlite from 'better-sqlite3'
import t, { type Test } from 'tap'
import { EMPTY_ROOT } from '../../src/core/tlog/merkle.ts'
import { createNoteSigner } from '../../src/core/tlog/note.ts'
import { temporaryFolder } from '../support/cli.ts'
import { eventually } from '../support/server.ts'
import { checkWitness } from '../support/witness-checks.ts'

const run = promisify(execFile)
const LITEWITNESS = process.env['LITEWITNESS'] ?? 'litewitness'
const PORT = Number(process.env['PORT'] ?? 7391)
const NAME = 'witness.example.com/lw'

/** Starts a witness that accepts the log. Returns the witness's verifier key. */
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
  // Register the log directly in the database. The witnessctl tool has dependencies that some module proxies lack.
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
  await checkWitness(t, { log, vkey, url: `http://127.0.0.1:${String(PORT)}` })
})
