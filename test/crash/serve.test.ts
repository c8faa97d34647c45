/** Kills a real server with SIGKILL under load: everything it encrypted must decrypt after the restart. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes, randomInt } from 'node:crypto'
import t from 'tap'
import { openAdministration } from '../../src/app/administration.ts'
import { loadConfig } from '../../src/config/load.ts'
import { createKmsSideClient, type KmsSideClient } from '../../src/kms/client/client.ts'
import type { DecryptArguments } from '../../src/kms/client/requests.ts'
import { startLatchkey, workspace } from '../support/cli.ts'
import { PATIENT_CONTROL, keyId, REGION } from '../support/server.ts'
import { keyStoreName } from '../support/store.ts'

const LIVES = 3
const AT_ONCE = 6
const AAD = Buffer.from('bound')

interface Made extends DecryptArguments {
  readonly plaintext: Buffer
}

/** Returns undefined if the server died during the request. */
async function encryptOnce(client: KmsSideClient): Promise<Made | undefined> {
  const plaintext = randomBytes(32)
  const answer = await client
    .encrypt('payroll', { plaintext, aad: AAD, cdiv: true })
    .catch(() => undefined)
  if (answer === undefined) return undefined
  if (answer.status !== 200) throw new Error(`encrypt: ${JSON.stringify(answer.body)}`)
  const body = answer.body as Record<string, string>
  const field = (name: string) => Buffer.from(body[name] ?? '', 'base64')
  return {
    plaintext,
    aad: AAD,
    ciphertext: field('ciphertext'),
    ciphertextMetadata: field('ciphertextMetadata'),
    initializationVector: field('initializationVector'),
    authenticationTag: field('authenticationTag'),
  }
}

void t.test('latchkey serve, killed while it encrypts', async (t) => {
  const place = await workspace(t, { settings: { control: PATIENT_CONTROL } })
  const config = await loadConfig(place.configFile, {})
  const administration = await openAdministration(config)
  const keys = administration.keys(keyStoreName('demo'))
  await keys.createKey({ keyId: keyId('payroll'), canEncrypt: true, canDecrypt: true })
  const credential = await administration.credentials.create(keyStoreName('demo'))
  await administration.close()

  const made: Made[] = []
  for (let life = 1; life <= LIVES + 1; life++) {
    await t.test(`life ${String(life)}`, async (t) => {
      const running = startLatchkey(t, ['serve'], { cwd: place.folder })
      const [line] = await running.shows(/^.*"listening".*$/m)
      const { port } = JSON.parse(line) as { port: number }
      const client = createKmsSideClient({
        endpoint: `https://localhost:${String(port)}`,
        uriPath: '/demo/kms/xks/v1',
        accessKeyId: credential.accessKeyId,
        secretAccessKey: credential.secretAccessKey,
        region: REGION,
        caFile: place.caFile,
        timeoutMs: 20_000,
      })
      t.teardown(() => client.close())

      const lost: unknown[] = []
      for (const { plaintext, ...sealed } of made) {
        const { status, body } = await client.decrypt('payroll', sealed)
        const opened = Buffer.from((body as { plaintext?: string }).plaintext ?? '', 'base64')
        if (status !== 200 || !opened.equals(plaintext)) lost.push({ status, body })
      }
      t.same(lost, [], `${String(made.length)} ciphertexts of earlier lives decrypt`)
      if (life > LIVES) return

      const before = made.length
      const enough = before + randomInt(30, 90)
      let isDying = false
      const load = async () => {
        for (;;) {
          const one = await encryptOnce(client)
          if (one === undefined) {
            if (!isDying) throw new Error('the server failed before it was killed')
            return
          }
          made.push(one)
          if (made.length >= enough && !isDying) {
            isDying = true
            running.process.kill('SIGKILL')
          }
        }
      }
      await Promise.all(Array.from({ length: AT_ONCE }, load))
      const ended = await running.ended()
      t.match(ended, { code: undefined, stderr: '' })
      t.ok(made.length >= enough)
    })
  }
  t.ok(made.length >= 90)

  const after = await openAdministration(config)
  const [key] = await after.keys(keyStoreName('demo')).listKeys()
  const counted = key?.versions[0]?.encryptions ?? 0
  t.ok(counted >= made.length)
  // At startup, a server reserves small blocks for the most recently used keys.
  t.equal(counted % 1024, 0, 'whole blocks were set aside')
  await after.close()
})
