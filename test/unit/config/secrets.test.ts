/** Tests secrets from files and environment variables. They must not appear in any output. */
// SPDX-License-Identifier: Apache-2.0
import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { inspect } from 'node:util'
import t, { type Test } from 'tap'
import type { Config } from '../../../src/config/config.ts'
import { loadConfig } from '../../../src/config/load.ts'
import { configFolder } from '../../support/config.ts'

const withPassphrase = (source: string) => `
listener: { tls: { certificate: server.crt, privateKey: server.key } }
keyStores: [{ name: demo }]
store: { path: latchkey.db, masterKey: { passphrase: ${source} } }
`
const BY_ENV = withPassphrase('{ env: LATCHKEY_PASSPHRASE }')
const BY_FILE = withPassphrase('{ file: passphrase }')
const PASSPHRASE = 'planted-passphrase-51c2'
const PLACE = 'store.masterKey.passphrase'

function passphraseOf({ store }: Config): string | undefined {
  return store.masterKey.kind === 'passphrase' ? store.masterKey.passphrase.reveal() : undefined
}

async function folderWith(t: Test, content: string, mode = 0o600) {
  const made = await configFolder(t)
  const path = join(made.folder, 'passphrase')
  await writeFile(path, content)
  // chmod makes the mode independent of the process's umask.
  await chmod(path, mode)
  return { ...made, path }
}

void t.test('a passphrase comes from the environment', async (t) => {
  const { load } = await configFolder(t)
  t.equal(passphraseOf(await load(BY_ENV, { LATCHKEY_PASSPHRASE: PASSPHRASE })), PASSPHRASE)
})

void t.test('a variable that is absent or empty is a fault', async (t) => {
  const { faults } = await configFolder(t)
  const expected = [`${PLACE}: the environment variable LATCHKEY_PASSPHRASE is not set`]
  t.strictSame(await faults(BY_ENV, {}), expected)
  t.strictSame(await faults(BY_ENV, { LATCHKEY_PASSPHRASE: '' }), expected)
})

void t.test('a passphrase comes from a file, without the line break at its end', async (t) => {
  for (const ending of ['', '\n', '\r\n']) {
    const { load } = await folderWith(t, ` ${PASSPHRASE} ${ending}`)
    t.equal(passphraseOf(await load(BY_FILE)), ` ${PASSPHRASE} `, JSON.stringify(ending))
  }
})

void t.test('only one line break is cut off', async (t) => {
  const { load } = await folderWith(t, 'two\n\n')
  t.equal(passphraseOf(await load(BY_FILE)), 'two\n')
})

void t.test('a file that others can read is refused', async (t) => {
  for (const mode of [0o640, 0o604, 0o610, 0o602, 0o644]) {
    const { faults, path } = await folderWith(t, PASSPHRASE, mode)
    t.strictSame(
      await faults(BY_FILE),
      [`${PLACE}: others can read ${path}; run chmod 600 on it`],
      mode.toString(8),
    )
  }
  const { load } = await folderWith(t, PASSPHRASE, 0o400)
  await t.resolves(load(BY_FILE), 'read-only for its owner is good')
})

void t.test('a file that is missing or empty is a fault', async (t) => {
  const { faults, folder } = await configFolder(t)
  t.strictSame(await faults(BY_FILE), [
    `${PLACE}: ${join(folder, 'passphrase')} does not exist or is not accessible`,
  ])
  for (const content of ['', '\n']) {
    const { faults, path } = await folderWith(t, content)
    t.strictSame(await faults(BY_FILE), [`${PLACE}: ${path} is empty`])
  }
})

void t.test('a secret that is missing is reported with all the rest', async (t) => {
  const { faults } = await configFolder(t)
  t.strictSame(await faults(`${BY_ENV}\nlogging: { level: loud }\nhealth: { interval: 2m }`), [
    'logging.level: expected one of debug, info, warn, error, found "loud"',
    'health.interval: expected a duration from 100ms to 60000ms, found 2m',
    `${PLACE}: the environment variable LATCHKEY_PASSPHRASE is not set`,
  ])
})

void t.test('exactly one source is named', async (t) => {
  const { faults } = await configFolder(t)
  t.strictSame(await faults(withPassphrase('{}')), [
    `${PLACE}: expected exactly one of file, env, exec`,
  ])
  t.strictSame(await faults(withPassphrase('{ file: a, env: B }')), [
    `${PLACE}: expected exactly one of file, env, exec`,
  ])
  const both = BY_ENV.replace('masterKey: {', 'masterKey: { file: master.key,')
  t.strictSame(await faults(both), [
    'store.masterKey: expected exactly one of file, passphrase, pkcs11',
  ])
})

void t.test(
  'a passphrase in the file itself is refused, and the error does not repeat it',
  async (t) => {
    const { faults } = await configFolder(t)
    t.strictSame(await faults(withPassphrase(PASSPHRASE)), [
      `${PLACE}: expected settings, one per line, found a string`,
    ])
    for (const source of [
      `[${PASSPHRASE}]`,
      `{ value: ${PASSPHRASE} }`,
      `{ env: [${PASSPHRASE}] }`,
    ])
      t.notMatch((await faults(withPassphrase(source))).join('\n'), PASSPHRASE, source)
  },
)

void t.test('the loaded configuration shows no secret, however it is printed', async (t) => {
  const { load } = await configFolder(t)
  const config = await load(BY_ENV, { LATCHKEY_PASSPHRASE: PASSPHRASE })
  for (const text of [JSON.stringify(config), inspect(config, { depth: 9, showHidden: true })])
    t.notMatch(text, PASSPHRASE)
  t.match(JSON.stringify(config.store.masterKey), '[secret]')
})

void t.test('reading the configuration does not open the master key file', async (t) => {
  const { file, load } = await configFolder(t)
  await load(`
listener: { tls: { certificate: a, privateKey: b } }
keyStores: [{ name: demo }]
store: { path: c, masterKey: { file: not-there } }
`)
  await t.resolves(loadConfig(file))
})

const byProgram = (...command: readonly string[]) =>
  withPassphrase(JSON.stringify({ exec: [process.execPath, ...command] }))
const print = (text: string) => `process.stdout.write(${JSON.stringify(text)})`

void t.test('a passphrase comes from a program, without the line break at its end', async (t) => {
  const { load } = await configFolder(t)
  const config = await load(byProgram('-e', print(`${PASSPHRASE}\n`)))
  t.equal(passphraseOf(config), PASSPHRASE)
  const script = 'process.stdout.write(process.env.FROM + process.argv[1])'
  const given = await load(byProgram('-e', script, 'a b; exit'), { FROM: 'one ' })
  t.equal(passphraseOf(given), 'one a b; exit', 'there is no shell')
})

void t.test('a program that fails is a fault, with the last line that it wrote', async (t) => {
  const { faults } = await configFolder(t)
  const fails = 'console.error("one"); console.error("permission denied"); process.exit(3)'
  const name = process.execPath
  t.strictSame(await faults(byProgram('-e', fails)), [
    `${PLACE}: ${name} failed (3): permission denied`,
  ])
  t.strictSame(await faults(byProgram('-e', '')), [`${PLACE}: the output of ${name} is empty`])
  t.strictSame(await faults(byProgram('-e', print('x'.repeat(70_000)))), [
    `${PLACE}: ${name} printed more than 65536 bytes`,
  ])
  t.strictSame(await faults(withPassphrase('{ exec: [/nowhere/vault] }')), [
    `${PLACE}: the program /nowhere/vault does not exist`,
  ])
  t.strictSame(await faults(withPassphrase('{ exec: [vault], env: X }')), [
    `${PLACE}: expected exactly one of file, env, exec`,
  ])
})
