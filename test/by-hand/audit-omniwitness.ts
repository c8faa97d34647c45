/**
 * Tests our witness client against omniwitness of transparency-dev/witness, the witness that public logs use: it must
 * cosign our checkpoints and reject a log that was rolled back or forked.
 *
 *     go install github.com/transparency-dev/witness/cmd/omniwitness@v0.0.0-20260720115447-2e1c6971d19e
 *     npm run build:test && OMNIWITNESS=$(go env GOPATH)/bin/omniwitness node .test-build/test/by-hand/audit-omniwitness.js
 *
 * test/audit/witness.test.ts runs the same checks with our own witness.
 */
// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createNoteSigner } from '../../src/core/tlog/note.ts'
import { temporaryFolder } from '../support/cli.ts'
import { eventually } from '../support/server.ts'
import { checkWitness } from '../support/witness-checks.ts'

const OMNIWITNESS = process.env['OMNIWITNESS'] ?? 'omniwitness'
const PORT = Number(process.env['PORT'] ?? 7392)
const URL = `http://127.0.0.1:${String(PORT)}`
const NAME = 'witness.example.com/ow'
/** Algorithm of an Ed25519 key in the format of golang.org/x/mod/sumdb/note. */
const ED25519 = 1

/** Starts a witness that accepts the log. Returns the witness's verifier key. */
async function startOmniwitness(t: Test, origin: string, logKey: string): Promise<string> {
  const folder = await temporaryFolder(t)
  const seed = randomBytes(32)
  // A signing key is named after the plain verifier key, although the witness signs with a cosignature key.
  const [, id = ''] = /\+([0-9a-f]{8})\+/.exec(createNoteSigner(NAME, seed).verifierKey) ?? []
  const secret = Buffer.concat([Buffer.of(ED25519), seed]).toString('base64')
  const key = join(folder, 'key')
  writeFileSync(key, `PRIVATE+KEY+${NAME}+${id}+${secret}`, { mode: 0o600 })
  const logs = join(folder, 'logs.yaml')
  writeFileSync(logs, `Logs:\n  - Origin: ${origin}\n    PublicKey: ${logKey}\n    URL: ${URL}\n`)
  const witness = spawn(OMNIWITNESS, [
    ...['-private_key_path', key, '-additional_logs', logs, '-db_file', join(folder, 'db')],
    ...['-listen', `127.0.0.1:${String(PORT)}`, '-metrics_listen', '127.0.0.1:0'],
  ])
  t.teardown(() => witness.kill())
  witness.stderr.on('data', (chunk: Buffer) => {
    t.comment(chunk.toString().trim())
  })
  await eventually(() =>
    fetch(URL).then(
      () => true,
      () => false,
    ),
  )
  return createNoteSigner(NAME, seed, 'cosignature').verifierKey
}

void t.test('omniwitness cosigns what continues, and nothing else', async (t) => {
  const log = createNoteSigner('latchkey/0d0a/control', randomBytes(32))
  const vkey = await startOmniwitness(t, log.name, log.verifierKey)
  await checkWitness(t, { log, vkey, url: URL })
})
