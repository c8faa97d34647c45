/** Runs `latchkey kms` as a separate process between the real AWS SDK and a proxy. */
// SPDX-License-Identifier: Apache-2.0
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  ConnectCustomKeyStoreCommand,
  CreateAliasCommand,
  CreateCustomKeyStoreCommand,
  CreateKeyCommand,
  DecryptCommand,
  EncryptCommand,
  GenerateDataKeyCommand,
  KMSClient,
} from '@aws-sdk/client-kms'
import t, { type Test } from 'tap'
import { prepareDemo } from '../../src/tools/demo/demo.ts'
import { latchkeyHere, startLatchkey, temporaryFolder } from '../support/cli.ts'
import { eventually } from '../support/server.ts'
import { openPage, shellBlocks, toWords } from '../support/shown-commands.ts'
import { read } from '../support/repository.ts'

const PAGE = 'docs/kms.md'
const page = openPage(PAGE)
const KeyId = 'alias/latchkey-demo'
const PATIENT = 'limits: { requestDeadline: 20s }\nactivity: { flushInterval: 100ms }\n'

interface ConsoleFile {
  readonly XksProxyUriPath: string
  readonly XksProxyAuthenticationCredential: {
    readonly AccessKeyId: string
    readonly RawSecretAccessKey: string
  }
}

async function startDemo(t: Test) {
  const parent = await temporaryFolder(t)
  const folder = join(parent, 'demo')
  const { configFile } = await prepareDemo(folder, 0)
  await writeFile(configFile, `${await readFile(configFile, 'utf8')}${PATIENT}`)
  const proxy = startLatchkey(t, ['quickstart', '--dir', folder, '--port', '0'])
  const [, endpoint = ''] = await proxy.shows(/^Latchkey serves (https:\/\/localhost:\d+)\//m)
  const flags = ['--port', '0', '--timeout', '10s']
  const demo = ['kms', '--demo', folder, '--endpoint', endpoint, ...flags]
  return { parent, folder, configFile, endpoint, flags, demo }
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

/** Returns the command that begins with these words in a numbered step of docs/kms.md. */
function shownInText(start: string, configFile: string): readonly string[] {
  const [, text = ''] = new RegExp(`\`latchkey (${start} [^\`]*)\``).exec(read(PAGE)) ?? []
  const words = toWords(text)
  if (!words.includes('demo/latchkey.yaml')) throw new Error(`${PAGE} shows no command ${start}`)
  return words.map((word) => (word === 'demo/latchkey.yaml' ? configFile : word))
}

void t.test('an application loses access to its key and gets it back', async (t) => {
  const { parent, folder, configFile, endpoint, flags } = await startDemo(t)
  const trail = join(parent, 'trail.json')
  const shown = page.take('kms --demo', { demo: folder, 'kms.json': join(parent, 'kms.json') })
  const more = ['--endpoint', endpoint, '--cloudtrail', trail, '--via-service', 's3']
  const words = [...shown, ...flags, ...more]
  const first = await startKms(t, words)
  const exported = Object.entries(page.environment())
  for (const [name, value] of exported.filter(([name]) => name !== 'AWS_ENDPOINT_URL_KMS'))
    t.match(first.running.stdout(), `${name}=${value}`, 'the document has what the command prints')
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
  t.equal((await latchkeyHere(shownInText('kill', configFile))).code, 0)
  await t.rejects(decrypt(), { name: 'KMSInvalidStateException' })
  t.equal((await latchkeyHere(shownInText('restore', configFile))).code, 0)
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

  await t.test('with your own proxy, the calls in docs/kms.md make its key usable', async (t) => {
    const aws = shellBlocks(PAGE).flatMap((text) => text.match(/(?<=^aws kms )\S+/gm) ?? [])
    t.same(
      aws,
      [
        ...['generate-data-key', 'create-custom-key-store', 'connect-custom-key-store'],
        ...['create-key', 'create-alias'],
      ],
      'this test makes the calls in the document',
    )
    const own = page.take('kms --endpoint', {
      'https://localhost:8443': endpoint,
      'ca.crt': join(folder, 'pki/ca.crt'),
      'kms.json': join(parent, 'own.json'),
    })
    const kms = (await startKms(t, [...own, ...flags])).client()
    const file = JSON.parse(await readFile(join(folder, 'kms-console.json'), 'utf8')) as ConsoleFile
    const { CustomKeyStoreId } = await kms.send(
      new CreateCustomKeyStoreCommand({
        CustomKeyStoreName: 'payroll',
        CustomKeyStoreType: 'EXTERNAL_KEY_STORE',
        XksProxyConnectivity: 'PUBLIC_ENDPOINT',
        XksProxyUriEndpoint: 'https://localhost',
        XksProxyUriPath: file.XksProxyUriPath,
        XksProxyAuthenticationCredential: file.XksProxyAuthenticationCredential,
      }),
    )
    await kms.send(new ConnectCustomKeyStoreCommand({ CustomKeyStoreId }))
    const XksKeyId = 'demo-key'
    const create = new CreateKeyCommand({
      Origin: 'EXTERNAL_KEY_STORE',
      CustomKeyStoreId,
      XksKeyId,
    })
    const TargetKeyId = (await kms.send(create)).KeyMetadata?.KeyId
    const AliasName = 'alias/payroll'
    await kms.send(new CreateAliasCommand({ AliasName, TargetKeyId }))
    const generate = new GenerateDataKeyCommand({ KeyId: AliasName, KeySpec: 'AES_256' })
    t.equal((await kms.send(generate)).Plaintext?.length, 32)
  })
  t.same(page.remaining(), [], 'every command in docs/kms.md has been run')
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
    [['--port', '70000'], 65, /--port: expected a whole number from 0 to 65535/],
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
