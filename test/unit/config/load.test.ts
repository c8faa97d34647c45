/** Tests how a valid file becomes a complete, frozen configuration, including defaults, paths and durations. */
// SPDX-License-Identifier: Apache-2.0
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { loadConfig } from '../../../src/config/load.ts'
import { configFolder, SMALLEST } from '../../support/config.ts'
import { ROOT } from '../../support/repository.ts'

const FIXTURES = join(ROOT, 'test/fixtures/config')

/** Defaults for a key store that does not specify where its keys are. */
const EMBEDDED = { backend: 'software', keyPrefix: '', accept: [] }

void t.test('a setting with a default can be omitted', async (t) => {
  const { load, folder } = await configFolder(t)
  t.strictSame(await load(SMALLEST), {
    workers: 1,
    listener: {
      host: '0.0.0.0',
      port: 8443,
      tls: {
        certificateFile: join(folder, 'server.crt'),
        privateKeyFile: join(folder, 'server.key'),
      },
      http2: true,
      timeouts: {
        headersMs: 5000,
        requestMs: 10_000,
        keepAliveMs: 400_000,
        tlsHandshakeMs: 10_000,
      },
      maxConnections: 10_000,
      maxRequestsPerConnection: 10_000,
      maxConnectionAgeMs: 3_600_000,
      drain: { delayMs: 0, timeoutMs: 10_000 },
    },
    store: {
      path: join(folder, 'latchkey.db'),
      masterKey: { kind: 'file', path: join(folder, 'master.key') },
      pollIntervalMs: 250,
      maxBackupAgeMs: 604_800_000,
    },
    control: {
      leaseMs: 2000,
      sentinelFile: join(folder, 'latchkey.db.block'),
      highWaterFile: join(folder, 'latchkey.db.epoch'),
      restore: { people: 1, delayMs: 0, expiresMs: 86_400_000 },
    },
    keyStores: [{ name: 'demo', prefix: '', ...EMBEDDED }],
    backends: [],
    limits: { maxPlaintextBytes: 4300, maxAadBytes: 8192, requestDeadlineMs: 200 },
    sigv4: { clockSkewMs: 300_000 },
    health: { intervalMs: 10_000 },
    policy: {},
    audit: {
      mode: 'off',
      folder: join(folder, 'latchkey.db.audit'),
      checkpointIntervalMs: 1000,
      headIntervalMs: 3_600_000,
      principals: 'plain',
    },
    tripwire: { mode: 'rehearse', rules: [], learningMs: 604_800_000, maxSubjects: 10_000 },
    activity: { retentionMs: 2_592_000_000, flushIntervalMs: 5000, maxSubjects: 2000 },
    logging: { level: 'info', format: 'latchkey' },
    webhooks: [],
  })
})

void t.test('a default inside a section holds when the section names other settings', async (t) => {
  const { load } = await configFolder(t)
  const config = await load(`${SMALLEST}\nhealth: { fleetSize: 2 }\nlimits: { maxAadBytes: 65535 }`)
  t.strictSame(config.health, { intervalMs: 10_000, fleetSize: 2 })
  t.equal(config.limits.maxAadBytes, 65_535)
  t.equal(config.limits.maxPlaintextBytes, 4300)
})

void t.test('the configuration of release 0.1.0 still has the same meaning', async (t) => {
  t.strictSame(await loadConfig(join(FIXTURES, '0.1.0.yaml'), {}), {
    workers: 3,
    listener: {
      host: '127.0.0.1',
      port: 9443,
      tls: {
        certificateFile: join(FIXTURES, 'tls/server.crt'),
        privateKeyFile: join(FIXTURES, 'tls/server.key'),
      },
      clientCertificate: {
        caFile: join(FIXTURES, 'tls/amazon-trust-services.pem'),
        mode: 'enforce',
        subjects: ['cks.kms.eu-west-1.amazonaws.com', 'cks.kms.eu-central-1.amazonaws.com'],
      },
      http2: false,
      ping: { host: '127.0.0.1', port: 9080 },
      timeouts: { headersMs: 4000, requestMs: 8000, keepAliveMs: 420_000, tlsHandshakeMs: 3000 },
      maxConnections: 500,
      maxRequestsPerConnection: 2000,
      maxConnectionAgeMs: 3_600_000,
      drain: { delayMs: 20_000, timeoutMs: 60_000 },
    },
    store: {
      path: join(FIXTURES, 'data/latchkey.db'),
      masterKey: { kind: 'file', path: '/etc/latchkey/master.key' },
      pollIntervalMs: 500,
      maxBackupAgeMs: 604_800_000,
    },
    control: {
      leaseMs: 2000,
      sentinelFile: join(FIXTURES, 'data/latchkey.db.block'),
      highWaterFile: join(FIXTURES, 'data/latchkey.db.epoch'),
      restore: { people: 1, delayMs: 0, expiresMs: 86_400_000 },
    },
    keyStores: [
      {
        name: 'payroll',
        prefix: '/eu/payroll',
        ...EMBEDDED,
        regions: ['eu-west-1', 'eu-central-1'],
        quota: { requestsPerSecond: 100, burst: 250 },
      },
      {
        name: 'archive',
        prefix: '/archive',
        ...EMBEDDED,
        quota: { requestsPerSecond: 7, burst: 7 },
      },
      { name: 'plain', prefix: '', ...EMBEDDED },
    ],
    backends: [],
    limits: { maxPlaintextBytes: 5000, maxAadBytes: 9000, requestDeadlineMs: 150 },
    sigv4: { clockSkewMs: 240_000 },
    health: { intervalMs: 30_000, fleetSize: 3 },
    policy: {},
    audit: {
      mode: 'off',
      folder: join(FIXTURES, 'data/latchkey.db.audit'),
      checkpointIntervalMs: 1000,
      headIntervalMs: 3_600_000,
      principals: 'plain',
    },
    tripwire: { mode: 'rehearse', rules: [], learningMs: 604_800_000, maxSubjects: 10_000 },
    activity: { retentionMs: 2_592_000_000, flushIntervalMs: 5000, maxSubjects: 2000 },
    logging: { level: 'warn', format: 'latchkey' },
    metrics: { host: '0.0.0.0', port: 9464 },
    tracing: { endpoint: 'http://127.0.0.1:4318/v1/traces', percent: 5 },
    webhooks: [],
  })
})

void t.test('the configuration of every release loads', async (t) => {
  const files = readdirSync(FIXTURES)
  t.ok(files.length >= 1, 'there is one at least')
  for (const file of files) await t.resolves(loadConfig(join(FIXTURES, file), {}), file)
})

void t.test('paths are relative to the file, not to the current folder', async (t) => {
  const { load, folder } = await configFolder(t)
  const config = await load(`
listener: { tls: { certificate: ../a.crt, privateKey: /b/c.key } }
keyStores: [{ name: demo }]
store: { path: ./x/latchkey.db, masterKey: { file: master.key } }
`)
  t.equal(config.listener.tls.certificateFile, join(folder, '../a.crt'))
  t.equal(config.listener.tls.privateKeyFile, '/b/c.key')
  t.equal(config.store.path, join(folder, 'x/latchkey.db'))
})

void t.test('a time is a whole number and its unit', async (t) => {
  const { load } = await configFolder(t)
  for (const [text, expected] of [
    ['450ms', 450],
    ['45s', 45_000],
    ['1m', 60_000],
  ] as const) {
    const config = await load(`${SMALLEST}\nhealth: { interval: ${text} }`)
    t.equal(config.health.intervalMs, expected, text)
  }
  const config = await load(`${SMALLEST}\nsigv4: { clockSkew: 1h }`)
  t.equal(config.sigv4.clockSkewMs, 3_600_000)
})

void t.test('a configuration is deeply frozen', async (t) => {
  const { load } = await configFolder(t)
  const config = await load(SMALLEST)
  const visit = (value: unknown, path: string): void => {
    if (typeof value !== 'object' || value === null) return
    t.ok(Object.isFrozen(value), `${path} is frozen`)
    for (const [name, child] of Object.entries(value)) visit(child, `${path}.${name}`)
  }
  visit(config, 'config')
  t.throws(() => {
    Object.assign(config.limits, { maxAadBytes: 1 })
  }, TypeError)
})
