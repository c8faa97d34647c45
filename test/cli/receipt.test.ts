/** Tests receipts and drills on the command line, and the token created by `admin token`. */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Receipt } from '../../src/killswitch/receipt/receipt.ts'
import type { Signed } from '../../src/core/signature.ts'
import { workspace } from '../support/cli.ts'

void t.test('a kill with a running server produces a receipt that anyone can verify', async (t) => {
  const space = await workspace(t)
  await space.serve()
  const killed = (await space.json('kill', '--all', '--reason', 'x', '--operator', 'alice')) as {
    readonly receipt: Signed<Receipt>
  }
  const { statement } = killed.receipt
  t.match(statement, {
    operator: 'alice',
    scope: { kind: 'all' },
    instances: [{ how: 'acknowledged' }],
  })
  t.match(await space.json('receipt', 'list'), [{ statement: { id: statement.id } }])
  const { stdout } = await space.run('receipt', 'show', statement.id)
  const file = join(space.folder, 'receipt.json')
  await writeFile(file, stdout)
  t.match(await space.run('receipt', 'verify', file), { code: 0, stdout: /^good signature\n/ })

  const { publicKey } = (await space.json('receipt', 'key')) as { readonly publicKey: string }
  const elsewhere = await workspace(t, { withoutStore: true })
  const verify = (...more: string[]) => elsewhere.run('receipt', 'verify', file, ...more)
  t.match(await verify('--public-key', publicKey), { code: 0 }, 'without a store')
  const wrong = Buffer.alloc(32, 1).toString('base64')
  t.match(await verify('--public-key', wrong), {
    code: 65,
    stderr: /is not valid for this receipt/,
  })
  await writeFile(file, stdout.replace('"alice"', '"mallory"'))
  t.match(await verify('--public-key', publicKey), {
    code: 65,
    stderr: /is not valid for this receipt/,
  })
  await writeFile(file, '[]')
  t.match(await verify('--public-key', publicKey), { code: 65, stderr: /not a receipt/ })
  t.match(await space.run('receipt', 'show', 'abc'), { code: 65 })
})

void t.test('without a server, a kill completes immediately, as its receipt states', async (t) => {
  const space = await workspace(t)
  await space.run('kill', '--all', '--reason', 'x')
  t.match(await space.json('receipt', 'list'), [
    { statement: { instances: [], lastSuccessAt: null } },
  ])
  t.match(await space.run('drill'), { code: 0, stdout: /no instance is running/ })
})

void t.test('a drill reports how long each step took', async (t) => {
  const space = await workspace(t)
  await space.serve()
  t.match(await space.run('drill'), {
    code: 0,
    stdout: /^revoked after \d+ ms, restored after \d+ ms\n(.|\n)*acknowledged/,
  })
})

void t.test(
  'a token is shown once, or written to a file that only its owner can read',
  async (t) => {
    const space = await workspace(t)
    const made = (await space.json('admin', 'token', '--name', 'p', '--role', 'viewer')) as {
      readonly token: string
      readonly sha256: string
    }
    t.match(made.token, /^latchkey_[\w-]{43}$/)
    t.equal(made.sha256, createHash('sha256').update(made.token).digest('hex'))
    const file = join(space.folder, 'a.token')
    const written = await space.run(
      'admin',
      'token',
      '--name',
      'p',
      '--role',
      'admin',
      '--output',
      file,
    )
    t.equal(written.code, 0)
    const token = (await readFile(file, 'utf8')).trim()
    t.notMatch(written.stdout, token)
    t.match(written.stdout, createHash('sha256').update(token).digest('hex'))
    t.equal((await stat(file)).mode & 0o777, 0o600)
    t.match(await space.run('admin', 'token', '--name', 'p', '--role', 'root'), { code: 65 })
    t.match(await space.run('admin', 'token'), { code: 64 })
  },
)
