/** Tests the page of the audit log that the admin listener serves. */
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

void t.test(
  'it shows the newest entries first, and names a log that it cannot trust',
  async (t) => {
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
    t.match(after.logs, [{ name, fault: /certificate/ }])
    t.same(after.entries, [], 'its entries are not shown')
  },
)

void t.test('without an audit log, it says so', async (t) => {
  const server = await startWithAdmin(t)
  const { body, status } = await call(server, 'GET', '/admin/v1/audit', { token: token('admin') })
  t.equal(status, 200)
  t.same(body, { mode: 'off', logs: [], entries: [] })
})
