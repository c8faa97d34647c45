/**
 * Tests TLS connections to the control store: the configuration must trust the server, and the server must accept the
 * client.
 */
// SPDX-License-Identifier: Apache-2.0
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { stringify } from 'yaml'
import { openKillSwitch } from '../../src/app/kill-switch.ts'
import { loadConfig } from '../../src/config/load.ts'
import type { PostgresTarget } from '../../src/store/postgres/address.ts'
import { openPostgres } from '../../src/store/postgres/database.ts'
import { latchkeyHere } from '../support/cli.ts'
import { newAuthority, testPki } from '../support/pki.ts'
import { startPostgres } from '../support/postgres.ts'
import { KILLED, KEY_ID, startTestServer } from '../support/server.ts'

t.setTimeout(120_000)

const pki = await testPki()
const client = await pki.issue('role', { commonName: 'latchkey', usage: 'client' })

void t.test('PostgreSQL over TLS, with certificates on both sides', async (t) => {
  const { target, createDatabase } = await startPostgres(t, [], { ...pki, client })
  const { port, database, user } = target
  const tls = {
    ca: pki.caFile,
    certificate: client.certificateFile,
    privateKey: client.privateKeyFile,
  }
  const postgres = { host: 'localhost', port, database, user, tls }
  const server = await startTestServer(t, {
    config: { control: KILLED, store: { postgres, masterKey: { file: 'master.key' } } },
  })
  const kms = server.client()
  const encrypt = async () => (await kms.encrypt(KEY_ID, { plaintext: Buffer.alloc(32) })).status
  t.equal(await encrypt(), 200)
  const control = await openKillSwitch(server.config)
  t.teardown(() => control.close())
  const order = { scope: { kind: 'all' }, direction: 'both', reason: 'r', operator: 'o' } as const
  t.match(await control.wait(await control.kill(order)), { instances: [{ how: 'acknowledged' }] })
  t.equal(await encrypt(), 400)

  const other = await newAuthority('Another CA')
  const otherCa = join(server.folder, 'other-ca.crt')
  await writeFile(otherCa, other.certificatePem)
  const forged = await pki.issue('forged-role', { commonName: 'latchkey', usage: 'client' }, other)
  const stranger = await pki.issue('stranger', { commonName: 'stranger', usage: 'client' })
  const shown = (files: typeof client) => ({
    ...tls,
    certificate: files.certificateFile,
    privateKey: files.privateKeyFile,
  })
  const cases: readonly (readonly [string, object, RegExp])[] = [
    ['another authority', { tls: { ...tls, ca: otherCa } }, /no trusted authority/],
    ['the authorities of Node.js', { tls: { ...tls, ca: undefined } }, /no trusted authority/],
    ['another name', { tls: { ...tls, serverName: 'db.example.com' } }, /for another name/],
    ['no TLS', { tls: { mode: 'off' } }, /SQLSTATE 28000 .*, and the connection does not use TLS$/],
    ['no certificate', { tls: { ca: pki.caFile } }, /SQLSTATE 28000|cannot connect/],
    ['one of another authority', { tls: shown(forged) }, /cannot connect|SQLSTATE 28000/],
    ['one of another role', { tls: shown(stranger) }, /SQLSTATE 28000/],
  ]
  for (const [name, over, message] of cases) {
    const file = join(server.folder, 'wrong.yaml')
    const { listener } = server.config
    await writeFile(
      file,
      stringify({
        listener: {
          port: 0,
          tls: {
            certificate: listener.tls.certificateFile,
            privateKey: listener.tls.privateKeyFile,
          },
        },
        keyStores: [{ name: 'demo', prefix: '/demo' }],
        store: { postgres: { ...postgres, ...over }, masterKey: { file: 'master.key' } },
      }),
    )
    await t.rejects(openKillSwitch(await loadConfig(file)), { message }, name)
  }
  const { code, stderr } = await latchkeyHere([
    'status',
    '--config',
    join(server.folder, 'wrong.yaml'),
  ])
  t.not(code, 0)
  t.match(stderr, /^latchkey: error: /)
  const byAddress = await startTestServer(t, {
    stopped: true,
    config: {
      store: {
        postgres: { ...postgres, host: '127.0.0.1', database: (await createDatabase()).database },
        masterKey: { file: 'master.key' },
      },
    },
  })
  await byAddress.start()
  t.equal(
    byAddress.running.gateStats().state,
    'open',
    'an address is a name that a certificate can have',
  )
})

void t.test('a TLS mismatch is distinguished from other failures', async (t) => {
  const without = await startPostgres(t)
  const tls = { ca: await readFile(pki.caFile, 'utf8') }
  const connect = (target: PostgresTarget) =>
    openPostgres({ loadTarget: () => Promise.resolve(target), deadlineMs: 20_000 })
  await t.rejects(connect({ ...without.target, tls }), {
    message: 'cannot connect to the store: the server does not support TLS',
    hint: /ssl = on/,
  })
  const withTls = await startPostgres(t, [], { ...pki, client })
  await withTls.admit(['hostssl all all all trust'])
  const { host, port, database, user } = withTls.target
  await t.rejects(connect({ host, port, database, user }), {
    message: /connection does not use TLS/,
    hint: /accept only TLS/,
  })
})
