/**
 * Tests how real KMS clients behave while their key is blocked and after it is restored, with `latchkey kms` in place
 * of KMS. The clients are boto3, the AWS CLI, the AWS Encryption SDK for Python with and without its cache, and the
 * Amazon S3 Encryption Client for Python, with moto in place of S3. They are installed from PyPI into a virtual
 * environment in the temporary folder, unless LATCHKEY_VENV names one.
 *
 *     node .test-build/test/by-hand/kms-clients.js
 */
// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { appendFile } from 'node:fs/promises'
import t, { type Test } from 'tap'
import { prepareDemo } from '../../src/tools/demo/demo.ts'
import { latchkey, startLatchkey, temporaryFolder } from '../support/cli.ts'
import { ROOT } from '../support/repository.ts'
import { eventually } from '../support/server.ts'

t.setTimeout(1_200_000)

const VENV = process.env['LATCHKEY_VENV'] ?? join(tmpdir(), 'latchkey-kms-clients')
const PYTHON = join(VENV, 'bin/python')
const PACKAGES = [
  'awscli==1.46.3',
  'boto3==1.44.8',
  'aws-encryption-sdk==4.0.7',
  'amazon-s3-encryption-client-python==4.0.0',
  'moto[s3,server]==5.2.5',
]
const SCRIPT = join(ROOT, 'test/by-hand/kms-clients.py')

async function run(command: string, ...words: readonly string[]): Promise<void> {
  const child = spawn(command, words, { stdio: ['ignore', 'inherit', 'inherit'] })
  const code = await new Promise((resolve) => child.once('close', resolve))
  if (code !== 0) throw new Error(`${command} ended with ${String(code)}`)
}

async function install(): Promise<void> {
  if (existsSync(PYTHON)) return
  await run('python3', '-m', 'venv', VENV)
  await run(PYTHON, '-m', 'pip', 'install', '--quiet', ...PACKAGES)
}

/** Starts moto's S3 server on a free port. Resolves to its URL. */
async function startS3(t: Test): Promise<string> {
  const child = spawn(join(VENV, 'bin/moto_server'), ['-H', '127.0.0.1', '-p', '0'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  for await (const line of createInterface(child.stderr)) {
    const [, url] = /Running on (http:\/\/127\.0\.0\.1:\d+)/.exec(line) ?? []
    if (url !== undefined) return url
  }
  throw new Error('moto ended')
}

/**
 * Starts the Python script with one client. Returns a function that sends a command and resolves to the script's reply.
 */
function startClient(t: Test, name: string, key: string, environment: Record<string, string>) {
  const child = spawn(PYTHON, [SCRIPT, name, key], {
    env: { ...environment, PATH: process.env['PATH'], HOME: VENV },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  return async (command: 'store' | 'read') => {
    child.stdin.write(`${command}\n`)
    const answer: IteratorResult<string> = await lines.next()
    return answer.done === true ? 'it ended' : answer.value
  }
}

/** The AWS Encryption SDK reports no cause when decryption fails, so DecryptKeyError is accepted too. */
const REFUSED = /KMSInvalidStateException|^DecryptKeyError$/
const CLIENTS = [
  { name: 'boto3' },
  { name: 'aws-cli' },
  { name: 'encryption-sdk' },
  { name: 'encryption-sdk-cached', readsOn: true },
  { name: 's3-encryption-client' },
] as const

void t.test('real clients lose their key and get it back', async (t) => {
  await install()
  const parent = await temporaryFolder(t)
  const folder = join(parent, 'demo')
  const { configFile } = await prepareDemo(folder, 0)
  await appendFile(configFile, 'limits: { requestDeadline: 20s }\n')
  const proxy = startLatchkey(t, ['quickstart', '--dir', folder, '--port', '0'])
  const [, endpoint = ''] = await proxy.shows(/^Latchkey serves (https:\/\/localhost:\d+)\//m)
  const demo = ['--demo', folder, '--endpoint', endpoint, '--port', '0', '--timeout', '10s']
  const kms = startLatchkey(t, ['kms', ...demo])
  const [, key = ''] = await kms.shows(/^KMS key +alias\/latchkey-demo +(\S+)$/m)
  const exported = [...kms.stdout().matchAll(/(AWS_\w+)=(\S+)/g)]
  const environment = {
    ...Object.fromEntries(exported.map(([, name = '', value = '']) => [name, value])),
    AWS_ENDPOINT_URL_S3: await startS3(t),
  }
  const control = (...words: readonly string[]) =>
    latchkey(t, [...words, '--reason', 'rehearsal', '--config', configFile])

  const clients = CLIENTS.map((client) => ({
    readsOn: false,
    ...client,
    send: startClient(t, client.name, key, environment),
  }))
  for (const { name, send } of clients) {
    t.equal(await send('store'), 'ok', `${name} stores`)
    t.equal(await send('read'), 'ok', `${name} reads`)
  }
  t.equal((await control('kill', '--all')).code, 0)
  for (const { name, send, readsOn } of clients) {
    const outcomes = { store: await send('store'), read: await send('read') }
    for (const [command, outcome] of Object.entries(outcomes)) {
      t.comment(`${name} ${command}: ${outcome}`)
      if (readsOn) t.equal(outcome, 'ok', `${name}: its cache continues to ${command}`)
      else t.match(outcome, REFUSED, `${name} cannot ${command}`)
    }
  }
  t.equal((await control('restore', '--all', '--yes')).code, 0)
  for (const { name, send } of clients) {
    // An instance applies the restore at its next poll.
    await eventually(async () => (await send('store')) === 'ok')
    t.equal(await send('store'), 'ok', `${name} stores again`)
    t.equal(await send('read'), 'ok', `${name} reads again`)
  }
})
