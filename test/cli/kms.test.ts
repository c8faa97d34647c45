/** Runs `latchkey kms` as a separate process between the real AWS SDK and a proxy. */
// SPDX-License-Identifier: Apache-2.0
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  DecryptCommand,
  EncryptCommand,
  GenerateDataKeyCommand,
  KMSClient,
} from '@aws-sdk/client-kms'
import t, { type Test } from 'tap'
import { prepareDemo } from '../../src/tools/demo/demo.ts'
import { latchkeyHere, startLatchkey, temporaryFolder } from '../support/cli.ts'
import { eventually } from '../support/server.ts'

const KeyId = 'alias/latchkey-demo'
const PATIENT = 'limits: { requestDeadline: 20s }\nactivity: { flushInterval: 100ms }\n'

async function startDemo(t: Test) {
  const parent = await temporaryFolder(t)
  const folder = join(parent, 'demo')
  const { configFile } = await prepareDemo(folder, 0)
  await writeFile(configFile, `${await readFile(configFile, 'utf8')}${PATIENT}`)
  const proxy = startLatchkey(t, ['quickstart', '--dir', folder, '--port', '0'])
  const [, endpoint = ''] = await proxy.shows(/^Latchkey serves (https:\/\/localhost:\d+)\//m)
  const demo = ['kms', '--demo', folder, '--endpoint', endpoint, '--port', '0', '--timeout', '10s']
  return { parent, configFile, demo }
}

async function startKms(t: Test, words: readonly string[], region = 'us-east-1') {
  const running = startLatchkey(t, words)
  const [, url = ''] = await running.shows(/AWS_ENDPOINT_URL_KMS=(\S+)/)
  await running.shows(/Press Ctrl-C to stop/)
  const of = (name: string) =>
    new RegExp(`^export ${name}=(\\S+)$`, 'm').exec(running.stdout())?.[1]
  const client = (
    accessKeyId = of('AWS_ACCESS_KEY_ID'),
    secretAccessKey = of('AWS_SECRET_ACCESS_KEY'),
  ) => {
    const made = new KMSClient({
      ...{ region, endpoint: url, maxAttempts: 1 },
      credentials: { accessKeyId: accessKeyId ?? '', secretAccessKey: secretAccessKey ?? '' },
    })
    t.teardown(() => {
      made.destroy()
    })
    return made
  }
  return { running, client }
}

void t.test('an application loses access to its key and gets it back', async (t) => {
  const { parent, configFile, demo } = await startDemo(t)
  const state = join(parent, 'kms.json')
  const trail = join(parent, 'trail.json')
  const words = [...demo, '--state', state, '--cloudtrail', trail, '--via-service', 's3']
  const first = await startKms(t, words)
  const dataKey = await first
    .client()
    .send(new GenerateDataKeyCommand({ KeyId, KeySpec: 'AES_256' }))
  t.equal((await first.running.ended('SIGTERM')).code, 0)

  const { client } = await startKms(t, words)
  const { CiphertextBlob } = dataKey
  const decrypt = async () =>
    (await client().send(new DecryptCommand({ CiphertextBlob }))).Plaintext
  t.same(await decrypt(), dataKey.Plaintext, 'the key is the one of before the restart')
  const config = ['--config', configFile]
  const exposure = () => latchkeyHere(['exposure', ...config])
  await eventually(async () => (await exposure()).stdout.includes('role/Application'))
  t.match((await exposure()).stdout, /S3/, 'no probe: it is the use of an application')
  const reason = ['--reason', 'on purpose']
  t.equal((await latchkeyHere(['kill', '--all', ...reason, ...config])).code, 0)
  await t.rejects(decrypt(), { name: 'KMSInvalidStateException' })
  t.equal((await latchkeyHere(['restore', '--all', ...reason, '--yes', ...config])).code, 0)
  await eventually(async () =>
    decrypt().then(
      () => true,
      () => false,
    ),
  )
  const records = (await readFile(trail, 'utf8')).trim().split('\n')
  t.match(
    records.map((line) => JSON.parse(line) as object).find((one) => 'errorCode' in one),
    {
      ...{ eventName: 'Decrypt', errorCode: 'KMSInvalidStateException' },
      userIdentity: { invokedBy: 's3.amazonaws.com' },
    },
  )
})

void t.test('several callers, a different region and a different account', async (t) => {
  const { parent, demo } = await startDemo(t)
  const callers = join(parent, 'callers.json')
  const [id, secret] = ['AKIAI44QH8DHBEXAMPLE', 'je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY']
  const principal = 'arn:aws:iam::444455556666:user/Bob'
  const list = [{ accessKeyId: id, secretAccessKey: secret, principal }]
  await writeFile(callers, JSON.stringify(list), { mode: 0o600 })
  const more = ['--callers', callers, '--region', 'eu-central-1', '--account', '444455556666']
  const { client, running } = await startKms(t, [...demo, ...more], 'eu-central-1')
  t.match(running.stdout(), 'arn:aws:kms:eu-central-1:444455556666:key/')
  t.notMatch(running.stdout(), secret)
  const encrypt = new EncryptCommand({ KeyId, Plaintext: Buffer.from('x') })
  t.match((await client(id, secret).send(encrypt)).KeyId, /:444455556666:key/)
  await t.rejects(client('AKIAIOSFODNN7EXAMPLE', secret).send(encrypt), {
    name: 'UnrecognizedClientException',
  })
})

void t.test('invalid flags and files are rejected before anything is listening', async (t) => {
  const folder = await temporaryFolder(t)
  const file = join(folder, 'file.json')
  await writeFile(file, '[{"accessKeyId":"A"}]', { mode: 0o600 })
  for (const [words, code, message] of [
    [['--port', '70000'], 65, /--port: expected a whole number of 0 to 65535/],
    [['--region', 'here'], 65, /--region: expected a region/],
    [['--account', '1'], 65, /--account: expected 12 digits/],
    [['--throttle', '0'], 65, /--throttle: expected a whole number/],
    [['--endpoint', 'http://localhost'], 64, /--endpoint: expected https:\/\/host:port/],
    [['--callers', file], 65, /\[0\]\.secretAccessKey: expected a string/],
    [['--callers', file, '--principal', 'x'], 64, /--callers cannot be combined/],
    [['--state', file], 65, /is not a state file of latchkey kms/],
  ] as const) {
    const ended = await latchkeyHere(['kms', ...words])
    t.equal(ended.code, code, words.join(' '))
    t.match(ended.stderr, message)
  }
})
