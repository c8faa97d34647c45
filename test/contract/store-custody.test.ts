/** Tests every way to open a store, on both engines: with a replaced master key, a passphrase, or an escrow. */
// SPDX-License-Identifier: Apache-2.0
import { generateKeyPairSync } from 'node:crypto'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { workspace } from '../support/cli.ts'
import { startPostgres } from '../support/postgres.ts'

t.setTimeout(200_000)
const server = await startPostgres(t)

for (const engine of ['SQLite', 'PostgreSQL']) {
  void t.test(
    `${engine}: after replacing the master key, servers keep running, and an escrow opens the store`,
    async (t) => {
      const { host, port, database, user } = await server.createDatabase()
      const postgres = { host, port, database, user, tls: { mode: 'off' } }
      const settings = {
        store: { postgres, masterKey: { file: 'master.key' }, pollInterval: '50ms' },
      }
      const space = await workspace(t, engine === 'PostgreSQL' ? { settings } : {})
      const file = (name: string) => join(space.folder, name)
      const done = async (...words: readonly string[]) =>
        t.match(await space.run(...words), { code: 0 })
      const { publicKey, privateKey } = generateKeyPairSync('rsa', {
        modulusLength: 3072,
        publicKeyEncoding: { type: 'spki', format: 'pem' },
        privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
      })
      await writeFile(file('recovery.pub'), publicKey)
      await writeFile(file('recovery.pem'), privateKey, { mode: 0o600 })
      await done('store', 'escrow', file('escrow.json'), '--to', file('recovery.pub'))
      const { running } = await space.serve()
      await done('store', 'rekey', '--yes', '--new-master-key', file('second.key'))
      t.equal(running.process.exitCode, null)
      t.match(await space.run('status'), {
        code: 1,
        stderr: /the master key does not open this store/,
      })
      const text = await readFile(space.configFile, 'utf8')
      await writeFile(space.configFile, text.replace('master.key', 'second.key'))
      t.match(await space.run('status'), { code: 0, stdout: /1 instance serving/ })

      await writeFile(space.configFile, text.replace('master.key', 'lost.key'))
      t.match(await space.run('status'), { code: 77 })
      await writeFile(file('words'), 'correct horse\n', { mode: 0o600 })
      const escrow = ['--escrow', file('escrow.json'), '--recovery-key', file('recovery.pem')]
      await done('store', 'rekey', '--yes', ...escrow, '--new-passphrase', file('words'))
      await writeFile(
        space.configFile,
        text.replace('file: master.key', 'passphrase: { file: words }'),
      )
      await done('status')
      const other = generateKeyPairSync('rsa', { modulusLength: 3072 }).privateKey
      await writeFile(file('recovery.pem'), other.export({ type: 'pkcs8', format: 'pem' }))
      t.match(
        await space.run('store', 'rekey', '--yes', ...escrow, '--new-passphrase', file('words')),
        {
          code: 1,
          stderr: /the recovery key does not open this escrow/,
        },
      )
    },
  )
}

void t.test('a split recovery key: three of five parts open the store, two do not', async (t) => {
  const space = await workspace(t)
  const file = (name: string) => join(space.folder, name)
  const publicKey = file('recovery.pub')
  const made = await space.run('store', 'recovery-key', publicKey)
  t.match(made, { code: 0, stdout: /any 3 of the 5 parts restore the private key/ }, made.stderr)
  t.equal((await stat(`${publicKey}.part-1`)).mode & 0o777, 0o600)
  t.match(await space.run('store', 'escrow', file('escrow.json'), '--to', publicKey), { code: 0 })
  const rekey = (parts: readonly number[], name: string) => {
    const files = parts.map((part) => `${publicKey}.part-${String(part)}`).join(',')
    const words = ['--escrow', file('escrow.json'), '--recovery-parts', files]
    return space.run('store', 'rekey', '--yes', ...words, '--new-master-key', file(name))
  }
  t.match(await rekey([1, 2], 'a.key'), { code: 1, stderr: /3 different parts .* found 2/ })
  t.match(await rekey([1, 2, 2], 'a.key'), { code: 1, stderr: /found 2/ })
  const part = JSON.parse(await readFile(`${publicKey}.part-3`, 'utf8')) as { share: string }
  const damaged = { ...part, share: part.share.replace(/^..../, 'AAAA') }
  await writeFile(`${publicKey}.part-3`, JSON.stringify(damaged))
  t.match(await rekey([1, 2, 3], 'a.key'), { code: 1, stderr: /a part .* is damaged/ })
  t.match(await rekey([5, 1, 4], 'b.key'), { code: 0 })
  const text = await readFile(space.configFile, 'utf8')
  await writeFile(space.configFile, text.replace('master.key', 'b.key'))
  t.match(await space.run('status'), { code: 0 })
  t.match(await space.run('store', 'recovery-key', publicKey), { stderr: /already exists/ })
})
