/**
 * Tests a kill that is lost in a PostgreSQL failover. A host that has seen the kill refuses to serve, and so does a
 * host without a high-water mark.
 */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { openKillSwitch } from '../../src/app/kill-switch.ts'
import { startServer } from '../../src/app/server.ts'
import { latchkeyHere } from '../support/cli.ts'
import { startPostgres } from '../support/postgres.ts'
import { KEY_ID, eventually, startTestServer } from '../support/server.ts'

t.setTimeout(230_000)

const ALL = { scope: { kind: 'all' }, direction: 'both', reason: 'test', operator: 't' } as const

void t.test('a standby that lacks the kill is promoted', async (t) => {
  const first = await startPostgres(t)
  const second = await first.standby()
  const hosts = [first, second].map(({ target }) => `127.0.0.1:${String(target.port)}`)
  const server = await startTestServer(t, {
    config: {
      store: {
        postgres: {
          ...{ host: hosts.join(','), database: 'postgres', user: 'latchkey' },
          tls: { mode: 'off' },
        },
        masterKey: { file: 'master.key' },
        pollInterval: '100ms',
      },
      control: { lease: '2s', highWaterFile: 'seen.epoch' },
    },
  })
  const encrypt = async () =>
    (await server.client().encrypt(KEY_ID, { plaintext: Buffer.alloc(32) })).status
  await eventually(async () => (await encrypt()) === 200)
  const isCopied = async () => {
    const [row] = await first.query(
      'SELECT count(*) AS behind FROM pg_stat_replication WHERE replay_lsn < pg_current_wal_lsn()',
    )
    return Number(row?.['behind']) === 0
  }
  await eventually(isCopied)
  const before = await latchkeyHere(['status', '--config', server.configFile])
  t.match(before.stderr, /warning: there are standbys, but none is synchronous/)
  await second.kill()
  const control = await openKillSwitch(server.config)
  t.match(await control.stop(ALL, { wait: true }), { revocation: { isComplete: true } })
  await control.close()
  await first.kill()
  await second.start()
  await second.promote()

  const state = () => server.running.gateStats().reason
  await eventually(() => state() === 'EPOCH_WENT_BACK')
  t.equal(await encrypt(), 400)
  const { code, stderr } = await latchkeyHere(['status', '--config', server.configFile])
  t.equal(code, 0, stderr)
  t.match(stderr, /^latchkey: warning: the store is at epoch \d+, but its history does not match/)

  // A pod that starts on another host shares the store but has no high-water mark.
  const { highWaterFile } = server.config.control
  const elsewhere = {
    ...server.config,
    control: { ...server.config.control, highWaterFile: `${highWaterFile}-of-another` },
  }
  const other = await startServer(elsewhere, { logFile: `${server.logFile}-of-another` })
  t.teardown(() => other.stop())
  await eventually(() => other.gateStats().reason === 'EPOCH_WENT_BACK')

  const accept = ['control', 'accept-epoch', '--reason', 'seen', '--yes']
  const accepted = await latchkeyHere([...accept, '--config', server.configFile])
  t.equal(accepted.code, 0, accepted.stderr)
  await eventually(() => other.gateStats().state === 'open')
  await eventually(async () => (await encrypt()) === 200)
})
