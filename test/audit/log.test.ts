/** Tests a real server's audit log: what it contains, what it must not contain, and how it is verified. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { verifyLog } from '../../src/audit/reader/verify-log.ts'
import { logsOf, publicKeyOf, readPlainly } from '../support/audit.ts'
import { findLeaks, type Planted, planted } from '../support/leaks.ts'
import { KEY_ID, startTestServer, type TestServer } from '../support/server.ts'
import { call, decryptBody, encryptBody, requestMetadata } from '../support/wire.ts'

const ENCRYPT = `/keys/${KEY_ID}/encrypt`
const DECRYPT = `/keys/${KEY_ID}/decrypt`
const ROUNDS = 140

/**
 * Encrypts and decrypts, using a new request id for each call. Returns the request ids and the bytes that must stay
 * secret.
 */
async function roundTrips(t: Test, server: TestServer, rounds: number) {
  const client = server.client()
  const [plaintext, aad] = [randomBytes(32), randomBytes(48)]
  const secrets: Planted[] = [planted('plaintext', plaintext), planted('AAD', aad)]
  const ids: string[] = []
  const post = async (path: string, kmsRequestId: string, more: Record<string, unknown>) => {
    ids.push(kmsRequestId)
    const answer = await client.post(
      path,
      JSON.stringify({
        ...more,
        requestMetadata: requestMetadata('Encrypt', { kmsRequestId }),
        additionalAuthenticatedData: aad.toString('base64'),
      }),
    )
    t.equal(answer.status, 200)
    return answer.body as Record<string, unknown>
  }
  for (let i = 0; i < rounds; i++) {
    const body = encryptBody({ plaintext: plaintext.toString('base64') })
    const sealed = await post(ENCRYPT, `e-${String(i)}`, body)
    await post(DECRYPT, `d-${String(i)}`, decryptBody(sealed))
    if (i < 3) {
      secrets.push(planted('ciphertext', Buffer.from(String(sealed['ciphertext']), 'base64')))
    }
  }
  return { ids, secrets }
}

for (const mode of ['buffered', 'strict'] as const)
  void t.test(
    `${mode}: each request has an entry, and a third party can verify the log`,
    async (t) => {
      const server = await startTestServer(t, { config: { audit: { mode } } })
      const { ids, secrets } = await roundTrips(t, server, ROUNDS)
      await server.stop()
      const [folder = '', ...others] = await logsOf(server.config)
      t.same(others, [])
      const entries = readPlainly(folder)
      t.match(entries[0], { kind: 'start', seq: 0, pid: process.pid })
      t.match(entries.at(-1), { kind: 'stop' })
      const requests = entries.filter(({ kind }) => kind === 'request')
      t.same(
        requests.map(({ kmsRequestId }) => kmsRequestId),
        ids,
      )
      for (let i = 0; i < requests.length; i += 2) {
        t.match(requests[i], { operation: 'Encrypt', outcome: 'allowed', status: 200 })
        t.match(requests[i]?.['sealedSha256'], /^[0-9a-f]{64}$/)
        t.equal(requests[i]?.['sealedSha256'], requests[i + 1]?.['sealedSha256'])
      }
      const report = await verifyLog(folder, { publicKey: await publicKeyOf(server.config) })
      t.same(report.problems, [])
      t.match(report, { size: 2 * ROUNDS + 2, requests: 2 * ROUNDS, lost: 0, isOpen: false })
      const foreign = await verifyLog(folder, { publicKey: Buffer.alloc(32).toString('base64') })
      t.match(foreign.problems, [{ kind: 'signature' }])
      t.same(readdirSync(folder).sort(), ['certificate.json', 'checkpoint', 'log.vkey', 'tile'])
      for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
        const path = join(folder, name)
        if (statSync(path).isFile())
          t.same(findLeaks(readFileSync(path, 'latin1'), secrets), [], name)
      }
    },
  )

void t.test('refusals have entries, and all entries are canonical', async (t) => {
  const server = await startTestServer(t, { config: { audit: { mode: 'buffered' } } })
  const forged = await call(server, ENCRYPT, encryptBody(), {
    secretAccessKey: 'another secret access key, quite long',
  })
  const missing = await call(server, '/keys/missing/decrypt', {
    ...decryptBody({ ciphertext: 'AAAA', ciphertextMetadata: 'AAAA' }),
    initializationVector: Buffer.alloc(12).toString('base64'),
    authenticationTag: Buffer.alloc(16).toString('base64'),
    requestMetadata: requestMetadata('Decrypt', {
      awsPrincipalArn: `arn:aws:iam::123456789012:user/\u00e9\u2028${'\u0001'.repeat(3000)}`,
      newField: { deep: ['\ud800'] },
    }),
  })
  t.same([forged.status, missing.status], [401, 404])
  await server.stop()
  const [folder = ''] = await logsOf(server.config)
  const [, first, second] = readPlainly(folder)
  t.match(first, { outcome: 'refused', errorName: 'AuthenticationFailedException', status: 401 })
  t.match(second, { outcome: 'refused', keyId: 'missing', errorName: 'KeyNotFoundException' })
  const { problems } = await verifyLog(folder, { publicKey: await publicKeyOf(server.config) })
  t.same(problems, [])
})

void t.test('the audit log is off by default and creates no files', async (t) => {
  const server = await startTestServer(t)
  await call(server, ENCRYPT, encryptBody())
  await server.stop()
  t.equal(server.config.audit.mode, 'off')
  t.notOk(existsSync(server.config.audit.folder))
})

void t.test('a server that cannot write its log does not start', async (t) => {
  const server = await startTestServer(t, {
    config: { audit: { mode: 'strict', folder: 'latchkey.yaml/audit' } },
    stopped: true,
  })
  await t.rejects(server.start(), { code: 'AUDIT_UNWRITABLE' })
})
