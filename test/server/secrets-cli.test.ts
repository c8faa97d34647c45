/** Tests that commands given recognizable secrets in every input print none of them, on success or failure. */
// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmod, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { run } from '../../src/cli/run.ts'
import { findLeaks, planted, type Planted } from '../support/leaks.ts'
import { testPki } from '../support/pki.ts'
import { eventually } from '../support/server.ts'

const PASSPHRASE = `planted passphrase ${randomBytes(16).toString('hex')}`
const OTHER_PASSPHRASE = `${randomBytes(16).toString('hex')} planted, and wrong`
const INLINE = `inline-passphrase-${randomBytes(16).toString('hex')}`
const MATERIAL = randomBytes(32)

interface Printed {
  readonly code: number
  readonly text: string
}

/** Runs commands in a folder and records everything they print, including stack traces. */
class Commands {
  text = ''
  readonly #config: string

  constructor(config: string) {
    this.#config = config
  }

  async run(argv: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<Printed> {
    let text = ''
    const keep = (more: string) => {
      text += more
    }
    const code = await run(
      [...argv, '--config', this.#config],
      { LATCHKEY_DEBUG: '1', LATCHKEY_PASSPHRASE: PASSPHRASE, ...environment },
      { stdout: keep, stderr: keep },
    )
    this.text += text
    return { code, text }
  }
}

async function setUp(t: Test, masterKey: string) {
  const pki = await testPki()
  const folder = t.testdir()
  const config = join(folder, 'latchkey.yaml')
  const write = (key: string) =>
    writeFile(
      config,
      [
        'listener:',
        '  host: 127.0.0.1',
        '  port: 0',
        `  tls: { certificate: ${pki.certificateFile}, privateKey: ${pki.privateKeyFile} }`,
        'store:',
        '  path: latchkey.db',
        `  masterKey: ${key}`,
        'keyStores: [{ name: demo, prefix: /demo }]',
        'logging: { level: debug }',
        '',
      ].join('\n'),
    )
  await write(masterKey)
  const file = async (name: string, content: string | Buffer, mode = 0o600) => {
    const path = join(folder, name)
    await writeFile(path, content)
    await chmod(path, mode)
    return path
  }
  return { folder, write, file, config, commands: new Commands(config) }
}

const initialize = (folder: string, environment: NodeJS.ProcessEnv) =>
  run(['init', '--dir', folder], environment, { stdout: () => undefined, stderr: () => undefined })

void t.test('[LOG-2] keys and credentials are handled without printing them', async (t) => {
  const { folder, file, commands } = await setUp(t, '{ file: master.key }')
  t.equal(await initialize(folder, {}), 0)
  const consoleFile = join(folder, 'console.json')
  const hex = MATERIAL.toString('hex')
  const base64 = MATERIAL.toString('base64')

  const good = [
    ['keys', 'import', 'raw', '--from-file', await file('raw.key', MATERIAL)],
    ['keys', 'import', 'hex', '--from-file', await file('hex.key', `${hex}\n`)],
    ['keys', 'import', 'base64', '--from-file', await file('base64.key', base64), '--json'],
    ['keys', 'rotate', 'raw'],
    ['keys', 'list'],
    ['keys', 'list', '--json'],
    ['credentials', 'create', '--output', consoleFile],
    ['credentials', 'list'],
    ['credentials', 'list', '--json'],
    ['config', 'check'],
  ]
  for (const argv of good) t.match(await commands.run(argv), { code: 0 }, argv.join(' '))

  const text = await readFile(consoleFile, 'utf8')
  const secret = /"RawSecretAccessKey": "([^"]+)"/.exec(text)?.[1] ?? ''
  const bad = [
    ['keys', 'import', 'raw', '--from-file', await file('again.key', MATERIAL)],
    [
      'keys',
      'import',
      'long',
      '--from-file',
      await file('long.key', Buffer.concat([MATERIAL, MATERIAL])),
    ],
    ['keys', 'import', 'half', '--from-file', await file('half.key', hex.slice(0, 62))],
    ['keys', 'import', 'open', '--from-file', await file('open.key', MATERIAL, 0o644)],
    ['credentials', 'create', '--from-file', await file('half.json', text.slice(0, -20))],
    [
      'credentials',
      'create',
      '--from-file',
      await file('list.json', `[${JSON.stringify(secret)}]`),
    ],
    ['credentials', 'create', '--from-file', await file('bare.json', secret)],
    [
      'credentials',
      'create',
      '--from-file',
      await file('renamed.json', text.replace('RawSecretAccessKey', 'Secret')),
    ],
    [
      'credentials',
      'create',
      '--from-file',
      await file('short.json', text.replace(secret, secret.slice(0, 30))),
    ],
    ['credentials', 'create', '--from-file', consoleFile],
    ['credentials', 'create', '--output', consoleFile],
  ]
  for (const argv of bad) t.not((await commands.run(argv)).code, 0, argv.join(' '))

  const master = await readFile(join(folder, 'master.key'))
  const secrets: readonly Planted[] = [
    planted('imported material', MATERIAL),
    planted('its hexadecimal text', hex),
    planted('its Base64 text', base64),
    planted('secret access key', secret),
    planted('its bytes', Buffer.from(secret, 'base64')),
    planted('master key', master),
  ]
  // One master key is too long, and the other belongs to another store.
  for (const key of [Buffer.concat([master, master]), randomBytes(32)]) {
    await file('master.key', key)
    t.not((await commands.run(['keys', 'list'])).code, 0)
  }
  t.same(findLeaks(commands.text, secrets), [])
  t.same(findLeaks(commands.text, [planted('known', 'others can read')]), ['known'])
})

void t.test('[LOG-2] a passphrase is not printed, wherever it was put', async (t) => {
  const { folder, write, file, commands } = await setUp(
    t,
    '{ passphrase: { env: LATCHKEY_PASSPHRASE } }',
  )
  t.equal(await initialize(folder, { LATCHKEY_PASSPHRASE: PASSPHRASE }), 0)
  t.equal((await commands.run(['keys', 'create', 'one'])).code, 0)
  const wrong = { LATCHKEY_PASSPHRASE: OTHER_PASSPHRASE }
  t.not((await commands.run(['keys', 'list'], wrong)).code, 0)
  t.not((await commands.run(['serve'], wrong)).code, 0)
  const open = await file('passphrase', `${PASSPHRASE}\n`, 0o644)
  const slips = [
    `{ passphrase: { file: ${open} } }`,
    // Operators may put the secret itself in place of a file name or variable name.
    `{ passphrase: ${INLINE} }`,
    `{ passphrase: "${INLINE}" }`,
    `{ passphrase: [${INLINE}] }`,
    `{ passphrase: { value: ${INLINE} } }`,
    `{ file: [${INLINE}] }`,
    INLINE,
    `{ passphrase: "${INLINE} }`,
    `{ passphrase: ${INLINE}: ${INLINE}: }`,
    `{ passphrase: { env: [${INLINE}] } }`,
  ]
  for (const slip of slips) {
    await write(slip)
    for (const argv of [['config', 'check'], ['config', 'check', '--json'], ['serve']]) {
      const { code, text } = await commands.run(argv)
      t.not(code, 0)
      t.not(text, '')
      t.same(findLeaks(text, [planted(slip, INLINE)]), [])
    }
  }
  const secrets = [planted('passphrase', PASSPHRASE), planted('wrong', OTHER_PASSPHRASE)]
  t.same(findLeaks(commands.text, secrets), [])
  t.same(findLeaks(commands.text, [planted('known', 'store.masterKey')]), ['known'])
})

void t.test('[LOG-2] a server prints no secret on either of its streams', async (t) => {
  const { folder, config } = await setUp(t, '{ passphrase: { env: LATCHKEY_PASSPHRASE } }')
  t.equal(await initialize(folder, { LATCHKEY_PASSPHRASE: PASSPHRASE }), 0)
  const main = join(import.meta.dirname, '../../src/main.js')
  const child = spawn(process.execPath, [main, 'serve', '--config', config], {
    env: { LATCHKEY_PASSPHRASE: PASSPHRASE, LATCHKEY_DEBUG: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  let text = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (more: string) => {
      text += more
    })
  }
  await eventually(() => text.includes('"listening"'))
  child.kill('SIGHUP')
  await eventually(() => text.includes('certificate reloaded'))
  child.kill('SIGTERM')
  t.same(await once(child, 'close'), [0, null])
  t.same(findLeaks(text, [planted('passphrase', PASSPHRASE)]), [])
})
