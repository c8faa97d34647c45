/**
 * Tests PostgreSQL outages and maintenance: Latchkey must resume serving without a restart once they are over. With
 * LATCHKEY_FLEET_ROUNDS=1, on an idle machine, it must do so within the time that docs/store.md promises.
 */
// SPDX-License-Identifier: Apache-2.0
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openKillSwitch } from '../../src/app/kill-switch.ts'
import { SERVER_CERTIFICATE, newAuthority, testPki } from '../support/pki.ts'
import { type TestPostgres, startPostgres } from '../support/postgres.ts'
import { KEY_ID, type TestServer, eventually, startTestServer } from '../support/server.ts'
import { swallowingProxy } from '../support/swallowing-proxy.ts'

t.setTimeout(400_000)

const LEASE_MS = 2000
const IS_TIMED = process.env['LATCHKEY_FLEET_ROUNDS'] !== undefined
const ALL = {
  scope: { kind: 'all' },
  direction: 'both',
  reason: 'test',
  operator: 't',
  identity: 'os:t',
} as const

interface Served {
  readonly server: TestServer
  /** Returns the status of an Encrypt request. */
  encrypt(): Promise<number>
  refuses(): Promise<void>
  /** Waits until requests succeed again, and reports how long that took. */
  serves(t: Test): Promise<void>
}

async function serveFrom(t: Test, postgres: Record<string, unknown>): Promise<Served> {
  const server = await startTestServer(t, {
    config: {
      store: {
        postgres: { database: 'postgres', user: 'latchkey', tls: { mode: 'off' }, ...postgres },
        masterKey: { file: 'master.key' },
        pollInterval: '100ms',
      },
      control: { lease: `${String(LEASE_MS)}ms` },
    },
  })
  const kms = server.client()
  const encrypt = async () => (await kms.encrypt(KEY_ID, { plaintext: Buffer.alloc(32) })).status
  const served: Served = {
    ...{ server, encrypt },
    refuses: () => eventually(async () => (await encrypt()) === 400),
    async serves(t) {
      const from = performance.now()
      await eventually(async () => (await encrypt()) === 200)
      const tookMs = performance.now() - from
      t.comment(`answers are back after ${tookMs.toFixed(0)} ms`)
      if (!IS_TIMED) return
      t.ok(tookMs < LEASE_MS + 2000, `within the lease plus 2 s: ${tookMs.toFixed(0)} ms`)
    },
  }
  await served.serves(t)
  return served
}

/** Kills access, expects every instance to acknowledge it, and restores access. */
async function checkKill(t: Test, { server, encrypt, serves }: Served): Promise<void> {
  const control = await openKillSwitch(server.config)
  try {
    const revocation = await control.wait(await control.kill(ALL))
    t.match(revocation, { isComplete: true, instances: [{ how: 'acknowledged' }] })
    t.equal(await encrypt(), 400)
    await control.restore({ target: ALL, reason: 'test', operator: 't', identity: 'os:t' })
  } finally {
    await control.close()
  }
  await serves(t)
}

const endAll = (postgres: TestPostgres) =>
  postgres.query(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'latchkey'",
  )

void t.test('a standby is promoted, and host lists both servers', async (t) => {
  const first = await startPostgres(t)
  const second = await first.standby()
  const host = `127.0.0.1:${String(second.target.port)},localhost`
  const served = await serveFrom(t, { host, port: first.target.port })
  await first.kill()
  await served.refuses()
  await second.promote()
  await served.serves(t)
  await first.startAsStandby()
  await endAll(second)
  await served.serves(t)
  await checkKill(t, served)
})

void t.test('the host name resolves to the old primary, which is now a standby', async (t) => {
  const first = await startPostgres(t)
  const second = await first.standby()
  const name = await swallowingProxy(t)
  name.aim(first.target.port)
  const served = await serveFrom(t, { host: '127.0.0.1', port: name.port })
  await first.kill()
  await second.promote()
  await first.startAsStandby()
  await served.refuses()
  await t.rejects(openKillSwitch(served.server.config), { message: /25006 .*standby/ })
  name.aim(second.target.port)
  await served.serves(t)
  await checkKill(t, served)
})

void t.test('the server ends its connections, becomes read-only, restarts', async (t) => {
  const postgres = await startPostgres(t)
  const { host, port } = postgres.target
  const served = await serveFrom(t, { host, port })
  await endAll(postgres)
  await served.serves(t)
  await checkKill(t, served)
  const readOnly = async (value: 'on' | 'off') => {
    await postgres.query(`ALTER SYSTEM SET default_transaction_read_only = ${value}`)
    await postgres.query('SELECT pg_reload_conf()')
  }
  await readOnly('on')
  await served.refuses()
  await readOnly('off')
  await served.serves(t)
  await postgres.kill()
  await served.refuses()
  await postgres.start()
  await served.serves(t)
  await checkKill(t, served)
})

void t.test('the password is rotated', async (t) => {
  const postgres = await startPostgres(t)
  const { host, port } = postgres.target
  const file = join(t.testdir(), 'password')
  await writeFile(file, 'first\n', { mode: 0o600 })
  await postgres.query("CREATE ROLE server LOGIN PASSWORD 'first'")
  await postgres.query('CREATE DATABASE control OWNER server')
  await postgres.admit([
    'host all server 127.0.0.1/32 scram-sha-256',
    'host all latchkey 127.0.0.1/32 trust',
  ])
  const login = { user: 'server', database: 'control', password: { file } }
  const served = await serveFrom(t, { host, port, ...login })
  await postgres.query("ALTER ROLE server PASSWORD 'second'")
  t.equal(await served.encrypt(), 200, 'a connection that is open needs no password')
  await endAll(postgres)
  await served.refuses()
  await t.rejects(openKillSwitch(served.server.config), { message: /28P01 .*password/ })
  await writeFile(file, 'second\n')
  await served.serves(t)
  await checkKill(t, served)
})

void t.test('the CA and the certificates are rotated', async (t) => {
  const pki = await testPki()
  const subject = { commonName: 'latchkey', usage: 'client' } as const
  const client = await pki.issue('rotated-role', subject)
  const postgres = await startPostgres(t, [], { ...pki, client })
  const folder = t.testdir({ 'ca.crt': '' })
  const files = { ca: join(folder, 'ca.crt'), certificate: join(folder, 'role.crt') }
  const privateKey = join(folder, 'role.key')
  const install = async (authority: string, role: typeof client) => {
    await writeFile(files.ca, authority)
    await writeFile(files.certificate, await readFile(role.certificateFile))
    await writeFile(privateKey, await readFile(role.privateKeyFile), { mode: 0o600 })
  }
  await install(pki.authority.certificatePem, client)
  const tls = { ...files, privateKey }
  const served = await serveFrom(t, { host: 'localhost', port: postgres.target.port, tls })

  const other = await newAuthority('The next CA')
  const caFile = join(folder, 'next-ca.crt')
  await writeFile(caFile, other.certificatePem)
  const next = await pki.issue('next-role', subject, other)
  await postgres.useTls({
    ...(await pki.issue('next-server', SERVER_CERTIFICATE, other)),
    ...{ caFile, client: next },
  })
  await endAll(postgres)
  await served.refuses()
  await install(other.certificatePem, client)
  t.equal(await served.encrypt(), 400, 'the server does not know the old certificate')
  await install(other.certificatePem, next)
  await served.serves(t)
  await checkKill(t, served)
})
