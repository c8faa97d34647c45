/** Tests which configuration changes a running server applies. */
// SPDX-License-Identifier: Apache-2.0
import { writeFile } from 'node:fs/promises'
import t from 'tap'
import { compareConfigs, withReloadable } from '../../../src/config/changes.ts'
import { loadConfigWithSource } from '../../../src/config/load.ts'
import { configFolder, SMALLEST } from '../../support/config.ts'

const HASH = 'ab'.repeat(32)
const ADMIN = `admin: { port: 1, tokens: [{ name: a, role: viewer, sha256: ${HASH} }] }\n`

async function loads(t: Parameters<typeof configFolder>[0]) {
  const { file } = await configFolder(t)
  return async (text: string, environment: NodeJS.ProcessEnv = {}) => {
    await writeFile(file, text)
    return loadConfigWithSource(file, environment)
  }
}

void t.test('key stores, tokens and the log level apply; the rest needs a restart', async (t) => {
  const load = await loads(t)
  const before = await load(SMALLEST + ADMIN)
  const after = await load(
    `${SMALLEST}${ADMIN}logging: { level: debug }\nlimits: { requestDeadline: 1s }\n`
      .replace(
        '[{ name: demo }]',
        '[{ name: demo, quota: { requestsPerSecond: 5 } }, { name: b, prefix: /b }]',
      )
      .replace('viewer', 'operator')
      .replace('port: 1', 'port: 2'),
  )
  t.strictSame(compareConfigs(before, after), {
    reloadable: ['keyStores[0].quota', 'keyStores[1]', 'admin.tokens[0].role', 'logging.level'],
    needsRestart: ['admin.port', 'limits.requestDeadline'],
  })
  const running = withReloadable(before, after)
  t.match(running.config, {
    admin: { port: 1, tokens: [{ role: 'operator' }] },
    logging: { level: 'debug' },
    limits: { requestDeadlineMs: 200 },
  })
  t.equal(running.config.keyStores.length, 2)
  t.strictSame(compareConfigs(running, after).reloadable, [])
  t.strictSame(compareConfigs(running, after).needsRestart, [
    'admin.port',
    'limits.requestDeadline',
  ])
})

void t.test('rules of the tripwire need a restart', async (t) => {
  const load = await loads(t)
  const rule = 'tripwire: { rules: [{ name: bulk, limit: 2, window: 1h, action: log }] }\n'
  const [before, after] = [await load(SMALLEST), await load(SMALLEST + rule)]
  t.strictSame(compareConfigs(before, after), {
    reloadable: [],
    needsRestart: ['tripwire.rules[0]'],
  })
  const stricter = await load(SMALLEST + rule.replace('limit: 2', 'limit: 1'))
  const { needsRestart } = compareConfigs(after, stricter)
  t.strictSame(needsRestart, ['tripwire.rules[0].limit'])
  t.same(withReloadable(after, stricter).config.tripwire, after.config.tripwire)
})

void t.test('adding or removing the admin listener requires a restart', async (t) => {
  const load = await loads(t)
  const [without, with_] = [await load(SMALLEST), await load(SMALLEST + ADMIN)]
  t.strictSame(compareConfigs(without, with_).needsRestart, ['admin'])
  t.equal(withReloadable(without, with_).config.admin, undefined)
  t.ok(withReloadable(with_, without).config.admin)
})

void t.test('a secret whose contents changed requires a restart', async (t) => {
  const load = await loads(t)
  const text = SMALLEST.replace('{ file: master.key }', '{ passphrase: { env: PASS } }')
  const [one, two] = [await load(text, { PASS: 'one' }), await load(text, { PASS: 'two' })]
  t.strictSame(compareConfigs(one, two).needsRestart, ['store.masterKey.passphrase'])
  t.strictSame(compareConfigs(one, one), { reloadable: [], needsRestart: [] })
})

void t.test(
  'a changed PIN applies, and other changes of its token require a restart',
  async (t) => {
    const load = await loads(t)
    const text = `${SMALLEST}backends: [{ name: hsm, kind: pkcs11, module: m.so, tokens: [{ label: one, pin: { env: PIN } }] }]\n`
    const [one, two] = [await load(text, { PIN: '1111' }), await load(text, { PIN: '2222' })]
    t.strictSame(compareConfigs(one, two), {
      reloadable: ['backends[0].tokens[0].pin'],
      needsRestart: [],
    })
    const running = withReloadable(one, two)
    t.equal(running.config.backends[0]?.tokens[0]?.pin.reveal(), '2222')
    t.strictSame(compareConfigs(running, two), { reloadable: [], needsRestart: [] }, 'once')
    const other = await load(text.replace('label: one', 'label: other'), { PIN: '3333' })
    t.equal(withReloadable(one, other).config.backends[0]?.tokens[0]?.pin.reveal(), '1111')
    t.match(compareConfigs(one, other).needsRestart, ['backends[0].tokens[0].label'])
  },
)
