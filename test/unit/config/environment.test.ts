/** Tests settings from environment variables, such as LATCHKEY_LISTENER__PORT for listener.port. */
// SPDX-License-Identifier: Apache-2.0
import { writeFile } from 'node:fs/promises'
import t from 'tap'
import { toSegment } from '../../../src/config/environment.ts'
import { checkConfigFile, loadControlConfig } from '../../../src/config/load.ts'
import { CONFIG_SCHEMA } from '../../../src/config/schema.ts'
import type { Schema } from '../../../src/config/setting.ts'
import { configFolder, SMALLEST } from '../../support/config.ts'

void t.test('a variable replaces a setting of any kind', async (t) => {
  const { load } = await configFolder(t)
  const config = await load(SMALLEST, {
    LATCHKEY_WORKERS: 'auto',
    LATCHKEY_LISTENER__PORT: '9443',
    LATCHKEY_LISTENER__HTTP2: 'false',
    LATCHKEY_LISTENER__TIMEOUTS__KEEP_ALIVE: '90s',
    LATCHKEY_KEY_STORES__0__NAME: '1234',
    LATCHKEY_KEY_STORES__0__REGIONS: 'eu-west-1, eu-west-3',
    LATCHKEY_KEY_STORES__0__QUOTA__REQUESTS_PER_SECOND: '500',
    LATCHKEY_KEY_STORES__1: '{ name: second, prefix: /second }',
    LATCHKEY_METRICS__PORT: '9100',
    LATCHKEY_LOGGING: '{"level":"warn"}',
  })
  t.match(config, {
    workers: 'auto',
    listener: { port: 9443, http2: false, timeouts: { keepAliveMs: 90_000 } },
    keyStores: [
      { name: '1234', regions: ['eu-west-1', 'eu-west-3'], quota: { requestsPerSecond: 500 } },
      { name: 'second', prefix: '/second' },
    ],
    metrics: { host: '127.0.0.1', port: 9100 },
    logging: { level: 'warn' },
  })
})

void t.test('a whole section comes before its settings', async (t) => {
  const { load } = await configFolder(t)
  const { metrics } = await load(SMALLEST, {
    LATCHKEY_METRICS__PORT: '9100',
    LATCHKEY_METRICS: '{ port: 1, host: 127.0.0.2 }',
  })
  t.strictSame(metrics, { port: 9100, host: '127.0.0.2' })
})

void t.test(
  'where only one of several settings is allowed, the variable replaces the one in the file',
  async (t) => {
    const { load } = await configFolder(t)
    const { store } = await load(SMALLEST, {
      LATCHKEY_STORE__MASTER_KEY__PASSPHRASE__ENV: 'PASS',
      PASS: 'open sesame',
    })
    t.equal(store.masterKey.kind, 'passphrase')
  },
)

void t.test('null takes a setting out, and an empty variable changes nothing', async (t) => {
  const { load } = await configFolder(t)
  const text = `${SMALLEST}metrics: { port: 9100 }\nlogging: { level: warn }\n`
  const config = await load(text, { LATCHKEY_METRICS: 'null', LATCHKEY_LOGGING__LEVEL: '' })
  t.equal(config.metrics, undefined)
  t.equal(config.logging.level, 'warn')
  const postgres = await load(SMALLEST, {
    LATCHKEY_STORE__PATH: 'null',
    LATCHKEY_STORE__POSTGRES__HOST: 'db',
    LATCHKEY_STORE__POSTGRES__DATABASE: 'one',
    LATCHKEY_STORE__POSTGRES__USER: 'two',
  })
  t.match(postgres.store.postgres, { host: 'db', port: 5432 })
})

void t.test('overriding one use of a YAML alias does not change its other uses', async (t) => {
  const { load } = await configFolder(t)
  const text = SMALLEST.replace(
    '[{ name: demo }]',
    '[{ name: demo, quota: &q { requestsPerSecond: 5 } }, { name: b, prefix: /b, quota: *q }]',
  )
  const { keyStores } = await load(text, {
    LATCHKEY_KEY_STORES__1__QUOTA__REQUESTS_PER_SECOND: '9',
  })
  t.strictSame(
    keyStores.map(({ quota }) => quota?.requestsPerSecond),
    [5, 9],
  )
})

void t.test('faults name the variable', async (t) => {
  const { faults } = await configFolder(t)
  const cases: readonly (readonly [Record<string, string>, string])[] = [
    [
      { LATCHKEY_LISTENER__PORT: 'https' },
      'listener.port: expected a whole number, found "https" (LATCHKEY_LISTENER__PORT)',
    ],
    [
      { LATCHKEY_LISTENER__PROT: '1' },
      'listener: LATCHKEY_LISTENER__PROT is not a known setting; did you mean LATCHKEY_LISTENER__PORT?',
    ],
    [
      { LATCHKEY_LISTNER__PORT: '1' },
      ': LATCHKEY_LISTNER__PORT is not a known setting; did you mean LATCHKEY_LISTENER?',
    ],
    [
      { LATCHKEY_LISTENER__PORT__MAX: '1' },
      'listener.port: LATCHKEY_LISTENER__PORT__MAX is not a known setting; LATCHKEY_LISTENER__PORT has no nested settings',
    ],
    [
      { LATCHKEY_KEY_STORES__FIRST__NAME: 'a' },
      'keyStores: LATCHKEY_KEY_STORES__FIRST__NAME: expected the index of an entry (0 or higher), found FIRST',
    ],
    [{ LATCHKEY_METRICS: '{ port: 1' }, 'metrics: '],
    [
      { LATCHKEY_KEY_STORES__0: '{ name: UPPER }' },
      'keyStores[0].name: expected 1 to 64 lower-case letters, digits and hyphens, not starting with a hyphen, found "UPPER" (LATCHKEY_KEY_STORES__0)',
    ],
  ]
  for (const [environment, expected] of cases) {
    const [first = '', ...others] = await faults(SMALLEST, environment)
    t.ok(first.startsWith(expected), `${first}\nexpected ${expected}`)
    t.strictSame(others, [])
  }
})

void t.test('variables of other programs with the prefix are ignored', async (t) => {
  const { load } = await configFolder(t)
  await t.resolves(
    load(SMALLEST, {
      LATCHKEY_PORT: 'tcp://10.0.0.1:443',
      LATCHKEY_SERVICE_HOST: '10.0.0.1',
      LATCHKEY_CONFIG: '/etc/latchkey/latchkey.yaml',
      LATCHKEY_PASSPHRASE: 'x',
    }),
  )
})

void t.test('a wrong variable of another section does not stop a kill', async (t) => {
  const { file } = await configFolder(t)
  await writeFile(file, SMALLEST)
  const wrong = { LATCHKEY_LISTENER__PROT: '1', LATCHKEY_LISTENER__PORT: 'x', LATCHKEY_X__Y: '1' }
  const { store } = await loadControlConfig(file, { ...wrong, LATCHKEY_STORE__POLL_INTERVAL: '1s' })
  t.equal(store.pollIntervalMs, 1000)
  await t.rejects(loadControlConfig(file, { LATCHKEY_STORE__POLL: '1s' }), /POLL_INTERVAL/)
})

void t.test('an offline check sees the variables, too', async (t) => {
  const { file } = await configFolder(t)
  await writeFile(file, SMALLEST)
  t.equal(
    (await checkConfigFile(file, { LATCHKEY_KEY_STORES__0__NAME: 'b' })).keyStores[0]?.name,
    'b',
  )
})

void t.test('every setting has a variable of its own', (t) => {
  const seen = new Set<string>()
  const walk = (schema: Schema, path: string) => {
    for (const [name, child] of Object.entries(
      schema.properties ?? schema.items?.properties ?? {},
    )) {
      const own = `${path}__${toSegment(name)}`
      t.match(own, /^(__[A-Z][A-Z0-9_]*)+$/)
      t.notOk(seen.has(own), own)
      t.notMatch(toSegment(name), '__')
      seen.add(own)
      walk(child, own)
    }
  }
  walk(CONFIG_SCHEMA, '')
  t.ok(seen.size > 100, String(seen.size))
  t.end()
})
