/** Plants certified logs that the control log does not record, and checks what `audit verify` reports about them. */
// SPDX-License-Identifier: Apache-2.0
import { cpSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { findUnknownLogs, type LogRecord } from '../../src/audit/reader/unknown-logs.ts'
import { plantLog, publicKeyOf } from '../support/audit.ts'
import { latchkeyHere } from '../support/cli.ts'
import { startTestServer } from '../support/server.ts'

const HOUR_MS = 3_600_000

void t.test('a log that the control log does not record is reported by its name', async (t) => {
  const server = await startTestServer(t, { config: { audit: { mode: 'buffered' } } })
  await server.stop()
  const root = server.config.audit.folder
  const publicKey = await publicKeyOf(server.config)
  const verify = (...words: readonly string[]) =>
    latchkeyHere(['audit', 'verify', ...words], { LATCHKEY_CONFIG: server.configFile })
  t.match(await verify(), { code: 0 })
  const own = await latchkeyHere(['audit', 'search'], { LATCHKEY_CONFIG: server.configFile })
  t.match(own, { code: 0, stderr: /^$/ }, 'recorded logs cause no warning')
  const name = await plantLog(server.config, { startedAt: Date.now() - HOUR_MS })

  await t.test('against the store', async (t) => {
    const { code, stdout, stderr } = await verify()
    t.equal(code, 1, 'differs from 65, the code of an invalid log')
    t.match(stdout, new RegExp(`${name} .* UNKNOWN\\n`))
    t.match(stdout, `${name}: unknown: the store has no record of this log`)
    t.match(stderr, `not recorded in the control log: ${name}`)
    const { stdout: document } = await verify('--json')
    t.match(JSON.parse(document), { valid: false, missing: [], unknown: [{ log: name }] })
  })

  const READERS = [['search'], ['tail'], ['export'], ['prove', 'forged']]
  const read = (words: readonly string[], ...place: readonly string[]) =>
    latchkeyHere(['audit', ...words, ...place], { LATCHKEY_CONFIG: server.configFile })

  await t.test('commands that read its entries warn of it', async (t) => {
    const message = `${name}: unknown: the store has no record of this log`
    for (const words of READERS) {
      const { code, stdout, stderr } = await read(words)
      t.match({ code, stderr }, { code: 0, stderr: message }, words.join(' '))
      t.match(stdout, words[0] === 'prove' ? 'tlog-proof' : 'forged')
      const place = ['--folder', root, '--public-key', publicKey]
      t.match(await read(words, ...place), {
        ...{ code: 0, stderr: `${name}: unknown: the control log has no record of this log` },
      })
    }
  })

  await t.test('against a published control log', async (t) => {
    const words = ['--folder', root, '--public-key', publicKey]
    t.match(await verify(...words), {
      code: 1,
      stdout: `${name}: unknown: the control log has no record of this log`,
    })
    const copy = join(server.folder, 'copy')
    cpSync(root, copy, { recursive: true })
    rmSync(join(copy, 'control'), { recursive: true })
    const alone = ['--folder', copy, '--public-key', publicKey]
    t.match(await verify(...alone), { code: 0 }, 'without a control log, none can be expected')
  })

  await t.test('an invalid log has precedence', async (t) => {
    const planted = join(root, name, 'checkpoint')
    cpSync(planted, `${planted}.kept`)
    rmSync(planted)
    t.match(await verify(), { code: 65 })
    cpSync(`${planted}.kept`, planted)
  })
  rmSync(join(root, name), { recursive: true })

  await t.test('a log newer than the published control log is only noted', async (t) => {
    const later = await plantLog(server.config, { startedAt: Date.now() })
    const words = ['--folder', root, '--public-key', publicKey]
    t.match(await verify(...words), {
      code: 0,
      stderr: `${later} is newer than the control log in this folder, which does not record it yet`,
    })
    t.match(await verify(), { code: 1 }, 'the store itself has every event')
    t.match(await read(['search'], ...words), {
      ...{
        code: 0,
        stderr: `${later}: newer: the control log in this folder does not record this log yet`,
      },
    })
    rmSync(join(root, later), { recursive: true })
  })

  await t.test('a log that claims to start in the future is not newer', async (t) => {
    const planted = await plantLog(server.config, { startedAt: Date.parse('2099-01-01') })
    t.match(await verify('--folder', root, '--public-key', publicKey), {
      code: 1,
      stdout: `${planted}: unknown: the control log has no record of this log`,
    })
  })
})

void t.test('a newer log starts about now, not in the future', async (t) => {
  const [lastAt, now] = [1_790_000_000_000, 1_790_000_000_000 + HOUR_MS]
  const record: LogRecord = { known: new Map(), source: 'the control log', lastAt }
  const isNewer = async (startedAt: number) => {
    const origin = 'latchkey/test/audit/log'
    const about = { folder: '/logs/log', isControl: false, origin }
    const report = { ...about, startedAt: new Date(startedAt).toISOString() }
    const reread = () => Promise.resolve(record)
    const { newer } = await findUnknownLogs([report], { record, reread, now })
    return newer.length > 0
  }
  t.notOk(await isNewer(lastAt - HOUR_MS))
  t.ok(await isNewer(lastAt))
  t.ok(await isNewer(now))
  t.ok(await isNewer(now + 30_000), "the hosts' clocks differ")
  t.notOk(await isNewer(now + HOUR_MS))
})

void t.test('a log that opens while the record is read is known', async (t) => {
  const origin = 'latchkey/test/audit/log'
  const report = { folder: '/logs/log', origin, isControl: false, startedAt: undefined }
  const recordOf = (...origins: readonly string[]): LogRecord => ({
    known: new Map(origins.map((one) => [one, { heads: [] }])),
    ...{ source: 'the store', lastAt: undefined },
  })
  const find = (first: LogRecord | undefined, second: LogRecord | undefined) =>
    findUnknownLogs([report], { record: first, reread: () => Promise.resolve(second), now: 0 })
  const none = { unknown: [], newer: [] }
  t.same(await find(recordOf(), recordOf(origin)), none)
  t.same(await find(recordOf(origin), recordOf()), none, 'not read again')
  t.same(await find(undefined, undefined), none)
  t.match(await find(recordOf(), recordOf()), { unknown: [{ log: 'log' }], newer: [] })
  const control = { ...report, isControl: true }
  const reread = () => Promise.resolve(recordOf())
  t.same(await findUnknownLogs([control], { record: recordOf(), reread, now: 0 }), none)
})
