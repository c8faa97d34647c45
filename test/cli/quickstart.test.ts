/** Runs `latchkey quickstart` as a newcomer would, and follows the instructions that it prints. */
// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { appendFile, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { prepareDemo, readCredential, type Demo } from '../../src/tools/demo/demo.ts'
import { Secret } from '../../src/core/secret.ts'
import { createKmsSideClient } from '../../src/kms/client/client.ts'
import { latchkeyHere, startLatchkey, temporaryFolder, type Running } from '../support/cli.ts'
import { eventually } from '../support/server.ts'

interface Started {
  readonly running: Running
  readonly port: number
  /** The curl command line that quickstart prints for a second terminal. */
  readonly curl: string
}

const PROMPT = /Press Ctrl-C to stop\. The next run reuses these files\.\n/

async function start(t: Test, folder: string): Promise<Started> {
  const running = startLatchkey(t, ['quickstart', '--dir', folder, '--port', '0'])
  await running.shows(PROMPT)
  const text = running.stdout()
  const [, port = ''] =
    /^Latchkey serves https:\/\/localhost:(\d+)\/demo\/kms\/xks\/v1$/m.exec(text) ?? []
  const [curl = ''] = /^curl [^]*?\/encrypt$/m.exec(text) ?? []
  return { running, port: Number(port), curl }
}

/** Runs a command line in a shell, as if it had been pasted there. */
async function shell(line: string): Promise<{ readonly code: number; readonly stdout: string }> {
  const child = spawn('sh', ['-c', line], { stdio: ['ignore', 'pipe', 'inherit'] })
  let stdout = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => {
      resolve({ code: code ?? 1, stdout })
    })
  })
}

/** Returns a hash of every file except the log, the high-water mark and SQLite's companion files. */
async function contents(folder: string): Promise<Readonly<Record<string, string>>> {
  const names = await readdir(folder, { recursive: true })
  const kept = names.filter((name) => !/\.log$|-wal$|-shm$|\.db$|\.epoch$|^pki$/.test(name)).sort()
  const entries = kept.map(async (name) => {
    const bytes = await readFile(join(folder, name))
    return [name, createHash('sha256').update(bytes).digest('hex')] as const
  })
  return Object.fromEntries(await Promise.all(entries))
}

async function clientOf(t: Test, folder: string, port: number) {
  const demo = { consoleFile: join(folder, 'kms-console.json') } as Demo
  const { accessKeyId, secretAccessKey } = await readCredential(demo)
  const client = createKmsSideClient({
    endpoint: `https://localhost:${String(port)}`,
    uriPath: '/demo/kms/xks/v1',
    accessKeyId,
    secretAccessKey: new Secret(secretAccessKey),
    region: 'us-east-1',
    caFile: join(folder, 'pki/ca.crt'),
    timeoutMs: 20_000,
  })
  t.teardown(() => client.close())
  return client
}

void t.test('serves, prints a round trip, and answers the printed curl command', async (t) => {
  // This folder name needs quoting in a shell.
  const folder = join(await temporaryFolder(t), "what's this; a demo")
  const { running, port, curl } = await start(t, folder)
  const text = running.stdout()
  for (const operation of ['GetHealthStatus', 'GetKeyMetadata', 'Encrypt', 'Decrypt'])
    t.match(text, new RegExp(`^ {2}${operation} +200 +\\d+\\.\\d\\d ms `, 'm'))
  const files = ['latchkey.yaml', 'pki/ca.crt', 'kms-console.json', 'latchkey.log']
  for (const file of files) {
    t.ok(text.includes(join(folder, file)), file)
    t.ok((await stat(join(folder, file))).isFile())
  }
  const secrets = ['kms-console.json', 'curl.conf', 'master.key', 'latchkey.db', 'pki/server.key']
  for (const file of secrets) t.equal((await stat(join(folder, file))).mode & 0o777, 0o600, file)
  const { secretAccessKey } = await readCredential({
    consoleFile: join(folder, 'kms-console.json'),
  } as Demo)
  t.notOk(text.includes(secretAccessKey), 'the secret is in files only')
  t.ok((await readFile(join(folder, 'curl.conf'), 'utf8')).includes(secretAccessKey))

  t.match(curl, `localhost:${String(port)}`)
  // On a busy machine, a request may miss its deadline. KMS would also retry it.
  let answer = { code: 1, stdout: '' }
  await eventually(async () => {
    answer = await shell(`${curl} --silent --show-error --write-out '\\n%{http_code}'`)
    return answer.code !== 0 || !/\n(?:429|503)$/.test(answer.stdout)
  })
  const [body = '', status] = answer.stdout.split('\n')
  t.equal(answer.code, 0)
  t.equal(status, '200', body)
  t.match(JSON.parse(body), { ciphertext: String, ciphertextDataIntegrityValue: String })

  const console = JSON.parse(await readFile(join(folder, 'kms-console.json'), 'utf8')) as object
  t.strictSame(Object.keys(console), ['XksProxyUriPath', 'XksProxyAuthenticationCredential'])
  const ended = await running.ended('SIGINT')
  t.strictSame([ended.code, ended.stderr], [0, ''], 'Ctrl-C ends it cleanly')
  const log = (await readFile(join(folder, 'latchkey.log'), 'utf8')).trimEnd().split('\n')
  const served = log.map((line) => JSON.parse(line) as { msg: string; status?: number })
  const answered = served.filter(({ msg, status }) => msg === 'request' && status === 200)
  t.equal(answered.length, 5, 'the last line too')
})

void t.test('a second run reuses everything, also after kill -9', async (t) => {
  const folder = await temporaryFolder(t)
  const { configFile } = await prepareDemo(folder, 0)
  await appendFile(configFile, 'limits: { requestDeadline: 20s }\n')
  const first = await start(t, folder)
  const client = await clientOf(t, folder, first.port)
  const plaintext = Buffer.from('what must not be lost')
  const sealed = (await client.encrypt('demo-key', { plaintext })).body as Record<string, string>
  const before = await contents(folder)
  t.ok(Object.keys(before).length >= 7, Object.keys(before).join(' '))

  const bytes = (field: string) => Buffer.from(sealed[field] ?? '', 'base64')
  let { running } = first
  for (const signal of ['SIGKILL', 'SIGTERM', 'SIGKILL'] as const) {
    await running.ended(signal)
    running = (await start(t, folder)).running
    t.strictSame(await contents(folder), before, `after ${signal}`)
  }
  await running.ended('SIGKILL')
  const { port } = await start(t, folder)
  const opened = await (
    await clientOf(t, folder, port)
  ).decrypt('demo-key', {
    ciphertext: bytes('ciphertext'),
    ciphertextMetadata: bytes('ciphertextMetadata'),
    initializationVector: bytes('initializationVector'),
    authenticationTag: bytes('authenticationTag'),
  })
  t.strictSame(opened.body, { plaintext: plaintext.toString('base64') })
})

void t.test('--once exits after the round trip, and --json prints one document', async (t) => {
  const folder = await temporaryFolder(t)
  const once = ['quickstart', '--dir', folder, '--port', '0', '--once', '--json']
  const { code, stdout, stderr } = await startLatchkey(t, once).ended()
  t.strictSame([code, stderr], [0, ''])
  t.match(JSON.parse(stdout), {
    endpoint: /^https:\/\/localhost:\d+$/,
    uriPath: '/demo/kms/xks/v1',
    keyId: 'demo-key',
    ca: join(folder, 'pki/ca.crt'),
    consoleFile: join(folder, 'kms-console.json'),
    steps: [{ status: 200 }, { status: 200 }, { status: 200 }, { status: 200 }],
  })
})

void t.test('reports a port in use, and leaves nothing running', async (t) => {
  const folder = await temporaryFolder(t)
  const { port } = await start(t, folder)
  const other = ['quickstart', '--dir', await temporaryFolder(t), '--port', String(port)]
  t.strictSame(await startLatchkey(t, other).ended(), {
    code: 69,
    stdout: '',
    stderr: `latchkey: error: 127.0.0.1:${String(port)}: another process is listening there\nlatchkey: hint: stop the other process, or choose another port\n`,
  })
  for (const bad of ['65536', '-1', 'https', ''])
    t.equal((await latchkeyHere(['quickstart', `--port=${bad}`])).code, 64, bad)
})
