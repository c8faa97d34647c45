/** Tests `latchkey operators` and `admin tokens`, both on the store directly and through an admin listener. */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { pki, startWithAdmin, token } from '../support/admin.ts'
import { latchkeyHere, temporaryFolder } from '../support/cli.ts'
import { eventually } from '../support/server.ts'

t.setTimeout(120_000)

const WHY = ['--reason', 'a test'] as const

async function start(t: Test, config: Record<string, unknown> = {}, admin = {}) {
  const server = await startWithAdmin(t, config, admin)
  const folder = await temporaryFolder(t)
  const base = {
    LATCHKEY_ADDR: `https://localhost:${String(server.running.admin?.port)}`,
    LATCHKEY_CACERT: pki.caFile,
    HOME: folder,
  }
  const by =
    (bearer: string) =>
    (...words: string[]) =>
      latchkeyHere(words, { ...base, LATCHKEY_TOKEN: bearer })
  const local = (...words: string[]) =>
    latchkeyHere([...words, '--config', server.configFile], { HOME: folder })
  const createToken = async (run: typeof local, name: string) => {
    const { stdout, stderr } = await run('admin', 'tokens', 'create', name)
    const [, secret = '', id = ''] =
      /^token {2}(\S+)\n.* its id is ([0-9a-f]+)\n$/.exec(stdout) ?? []
    t.not(secret, '', stderr)
    return { secret, id }
  }
  return { folder, by, local, createToken }
}

void t.test(
  'an admin adds operators and issues tokens; revoking takes effect at once',
  async (t) => {
    const { folder, by, createToken } = await start(t)
    const admin = by(token('admin'))
    t.match((await admin('operators', 'list')).stdout, 'no operators in the store')
    const group = await admin('operators', 'group', '--yes', 'night', '--role', 'operator')
    t.equal(group.stdout, 'night: group, operator\n', group.stderr)
    const added = await admin('operators', 'add', '--yes', 'alice', '--groups', 'night')
    t.equal(added.stdout, 'alice: member of night\n', added.stderr)
    const { secret, id } = await createToken(admin, 'alice')
    const alice = by(secret)
    t.equal((await alice('kill', '--key-store', 'demo', ...WHY)).code, 0)
    t.match((await alice('status')).stdout, /by alice/)
    t.match(await alice('operators', 'add', '--yes', 'bob', '--role', 'admin'), { code: 1 })
    t.match(
      (await admin('admin', 'tokens', 'list')).stdout,
      new RegExp(`^${id} +alice +ACTIVE`, 'm'),
    )
    t.match((await admin('admin', 'tokens', 'revoke', id)).stdout, /^would revoke/)
    t.equal((await alice('status')).code, 0)
    t.equal((await admin('admin', 'tokens', 'revoke', id, '--yes')).code, 0)
    await eventually(async () => (await alice('status')).code === 1)
    t.match((await alice('status')).stderr, 'a valid client certificate or token is required')

    const file = join(folder, 'bob.token')
    await admin('operators', 'add', '--yes', 'bob', '--role', 'viewer', '--key-stores', 'demo')
    t.equal((await admin('admin', 'tokens', 'create', 'bob', '--output', file)).code, 0)
    const bob = by((await readFile(file, 'utf8')).trim())
    t.equal((await bob('status')).code, 0)
    t.match((await admin('operators', 'list')).stdout, /^bob +person +viewer +demo +- /m)
    t.equal((await admin('operators', 'remove', 'bob', '--yes')).code, 0)
    await eventually(async () => (await bob('status')).code === 1)
    t.equal((await admin('operators', 'remove', 'bob', '--yes')).code, 1)
    t.equal((await admin('operators', 'add', '--yes', 'x', '--role', 'root')).code, 65)
    t.equal(
      (await admin('operators', 'add', '--yes', 'x', '--role', 'admin', '--key-stores', 'typo'))
        .code,
      65,
    )
  },
)

void t.test(
  'two-person restore: identities come from the store, and an admin cannot invent a second one',
  async (t) => {
    const { by, local, createToken } = await start(t, { control: { restore: { people: 2 } } })
    for (const name of ['alice', 'bob']) {
      t.equal((await local('operators', 'add', '--yes', name, '--role', 'admin')).code, 0)
    }
    const alice = by((await createToken(local, 'alice')).secret)
    const bob = by((await createToken(local, 'bob')).secret)
    t.match(await alice('operators', 'add', '--yes', 'mallory', '--role', 'admin'), {
      code: 1,
      stderr: /could create an identity to act as the second/,
    })
    t.equal((await alice('admin', 'tokens', 'create', 'bob')).code, 1, "somebody else's token")
    const again = by((await createToken(alice, 'alice')).secret)
    t.equal((await alice('kill', '--all', ...WHY)).code, 0)
    const asked = await alice('restore', '--all', ...WHY, '--yes')
    const [, id = ''] = /latchkey restore approve ([0-9a-f]+)/.exec(asked.stdout) ?? []
    t.match((await again('restore', 'approve', id, '--yes')).stderr, 'counts as the same person')
    t.match((await bob('restore', 'approve', id, '--yes')).stdout, /^restored/)
  },
)

void t.test('an admin listener needs no token in its configuration', async (t) => {
  const none = { tokens: undefined, clientCertificates: undefined }
  const { by, local, createToken } = await start(t, {}, none)
  t.equal((await local('operators', 'add', '--yes', 'alice', '--role', 'viewer')).code, 0)
  const { secret } = await createToken(local, 'alice')
  t.equal((await by(secret)('status')).code, 0)
  t.equal((await by('latchkey_wrong')('status')).code, 1)
})
