/** Tests the admin listener's audit log page. */
// SPDX-License-Identifier: Apache-2.0
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { call, startWithAdmin, token } from '../support/admin.ts'
import { KEY_ID, eventually } from '../support/server.ts'

interface Page {
  readonly mode: string
  readonly logs: readonly { name: string; size?: number; host?: string; fault?: string }[]
  readonly entries: readonly { time: string; operation: string; outcome: string }[]
}

void t.test('shows the newest entries first, and names a log that cannot be trusted', async (t) => {
  const audit = { mode: 'buffered', checkpointInterval: '100ms' }
  const server = await startWithAdmin(t, { audit })
  const load = async () =>
    (await call(server, 'GET', '/admin/v1/audit', { token: token('admin') }))
      .body as unknown as Page
  const client = server.client()
  await client.encrypt(KEY_ID, { plaintext: Buffer.alloc(32) })
  await client.encrypt('no-such-key', { plaintext: Buffer.alloc(32) })
  await eventually(async () => (await load()).entries.length === 2)
  const { mode, logs, entries } = await load()
  t.equal(mode, 'buffered')
  t.match(logs, [{ name: String, size: Number, host: String }])
  t.match(entries, [{ outcome: 'refused' }, { outcome: 'allowed', operation: 'Encrypt' }])

  const folder = `${join(server.folder, 'latchkey.db')}.audit`
  const [name = ''] = await readdir(folder)
  await writeFile(join(folder, name, 'certificate.json'), '{"statement":{},"signature":""}')
  const after = await load()
  t.match(after.logs, [{ name, fault: /^[^/]+: certificate\.json is missing/ }])
  t.notMatch(JSON.stringify(after), folder, 'callers learn no path of the host')
  for (const path of [`entries?log=${name}`, `proof?log=${name}&index=0`]) {
    const refused = await call(server, 'GET', `/admin/v1/audit/${path}`, { token: token('admin') })
    t.match(refused, { status: 503, body: { error: { reason: 'AUDIT_INVALID' } } })
    t.match(refused.body, { error: { message: `${name}: certificate.json` } })
    t.notMatch(JSON.stringify(refused.body), server.folder)
  }
  t.same(after.entries, [], 'its entries are not shown')
})

void t.test('without an audit log, the page says so', async (t) => {
  const server = await startWithAdmin(t)
  const { body, status } = await call(server, 'GET', '/admin/v1/audit', { token: token('admin') })
  t.equal(status, 200)
  t.same(body, { mode: 'off', logs: [], entries: [] })
})
