/**
 * Tests how the admin listener serves audit log files: who may read them, and which changes are detected when a copy is
 * verified.
 */
// SPDX-License-Identifier: Apache-2.0
import fs, { readdirSync, readFileSync, statSync } from 'node:fs'
import promises, { cp, mkdir, rm, symlink, writeFile } from 'node:fs/promises'
import https from 'node:https'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import t from 'tap'
import { readLogFile } from '../../src/audit/reader/log-file.ts'
import { pki, startWithAdmin, token } from '../support/admin.ts'
import { publicKeyOf, readPlainly } from '../support/audit.ts'
import { latchkeyHere, temporaryFolder } from '../support/cli.ts'
import { eventually, KEY_ID, type TestServer } from '../support/server.ts'
import { call, encryptBody } from '../support/wire.ts'

const ROOT = '/admin/v1/audit/logs'
const ca = readFileSync(pki.caFile)

/** Sends the path unchanged, whereas `fetch` would normalize it. */
function get(server: TestServer, path: string, role = 'auditor') {
  return new Promise<{ status: number; bytes: Buffer; type: string }>((resolve, reject) => {
    const options = {
      ...{ host: 'localhost', port: server.running.admin?.port, path, ca, agent: false },
      headers: { authorization: `Bearer ${token(role)}` },
    }
    https
      .get(options, (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('end', () => {
          const type = String(response.headers['content-type'])
          resolve({ status: response.statusCode ?? 0, bytes: Buffer.concat(chunks), type })
        })
      })
      .on('error', reject)
  })
}

void t.test('a file is found without reading the other logs', async (t) => {
  const root = await temporaryFolder(t)
  for (const log of ['one', 'two', 'three']) {
    await mkdir(join(root, log))
    await writeFile(join(root, log, 'certificate.json'), log)
  }
  await mkdir(join(root, 'no-log'))
  await writeFile(join(root, 'no-log', 'checkpoint'), '')
  await symlink(join(root, 'one'), join(root, 'link'))
  // Save the original functions. Importers see the patched functions only after syncBuiltinESMExports().
  const { readdir, access, lstat } = promises
  const { existsSync } = fs
  const seen: string[] = []
  const note = <F extends (...words: never[]) => unknown>(call: F) =>
    ((...words: Parameters<F>) => {
      seen.push(String(words[0]))
      return call(...words)
    }) as F
  Object.assign(promises, { readdir: note(readdir), access: note(access), lstat: note(lstat) })
  Object.assign(fs, { existsSync: note(existsSync) })
  syncBuiltinESMExports()
  t.teardown(() => {
    Object.assign(promises, { readdir, access, lstat })
    Object.assign(fs, { existsSync })
    syncBuiltinESMExports()
  })
  t.equal((await readLogFile(root, 'two', 'certificate.json'))?.toString(), 'two')
  t.ok(seen.length > 0)
  t.same(
    seen.filter((path) => !path.startsWith(join(root, 'two'))),
    [],
    'nothing else was looked at',
  )
  for (const name of [
    '',
    '.',
    '..',
    '../two',
    'one/../two',
    'no-log',
    'link',
    'one\0',
    'nothing',
  ]) {
    t.equal(await readLogFile(root, name, 'checkpoint'), undefined, name)
    t.equal(await readLogFile(root, name, 'certificate.json'), undefined, name)
  }
})

void t.test('an auditor reads every file of a log, and nothing else', async (t) => {
  const server = await startWithAdmin(t, {
    audit: { mode: 'buffered', checkpointInterval: '100ms', headInterval: '1s' },
  })
  const root = server.config.audit.folder
  await call(server, `/keys/${KEY_ID}/encrypt`, encryptBody())
  const publicKey = await publicKeyOf(server.config)
  const logs = async () => {
    const { status, bytes } = await get(server, ROOT)
    t.equal(status, 200)
    return (JSON.parse(bytes.toString()) as { logs: string[] }).logs
  }
  // Wait until the control log records that this process has opened its audit log.
  await eventually(() => {
    try {
      return readPlainly(join(root, 'control')).length > 0
    } catch {
      return false
    }
  })
  const names = await logs()
  t.equal(names.length, 2)
  const [log = ''] = names
  await eventually(async () => (await get(server, `${ROOT}/${log}/tile/0/000.p/2`)).status === 200)

  await t.test('each file in the format is served at its path', async (t) => {
    const files = readdirSync(join(root, log), { recursive: true, encoding: 'utf8' }).filter(
      (name) => statSync(join(root, log, name)).isFile(),
    )
    t.ok(files.includes('owner.json') && files.some((name) => name.startsWith('wal-')))
    for (const name of files) {
      const isPublic = /^(tile\/|checkpoint$|certificate|log.vkey)/.test(name)
      const { status, bytes, type } = await get(server, `${ROOT}/${log}/${name}`)
      t.equal(status, isPublic ? 200 : 404, name)
      if (!isPublic || name === 'checkpoint') continue
      t.same(bytes, readFileSync(join(root, log, name)), name)
      if (name.startsWith('tile/')) t.equal(type, 'application/octet-stream')
    }
  })

  await t.test('no path leads out of a log', async (t) => {
    const paths = [
      ...['', '.', '..', '/', '//', 'tile', 'tile/', 'tile/0', 'tile/0/000', 'tile/64/000'],
      ...['tile/0/../0/000.p/2', '../control/checkpoint', '%2e%2e/control/checkpoint'],
      ...[
        '..%2fcontrol%2fcheckpoint',
        'tile%2f0%2f000.p%2f2/..',
        'tile/0/000.p/2%00',
        'owner.json',
      ],
      ...['wal-0000000000000000', 'checkpoint/', 'Checkpoint', 'tile/0/000.p/0', 'tile/0/000.p/02'],
    ]
    for (const path of paths) {
      t.equal((await get(server, `${ROOT}/${log}/${path}`)).status, 404, path)
    }
    for (const name of ['..', '%2e%2e', '.', 'nothing', '..%2f..', `x%2f..%2f${log}`, 'CONTROL']) {
      t.equal((await get(server, `${ROOT}/${name}/checkpoint`)).status, 404, name)
    }
    for (const role of ['viewer', 'operator', 'custodian']) {
      t.equal((await get(server, `${ROOT}/${log}/checkpoint`, role)).status, 403, role)
      t.equal((await get(server, ROOT, role)).status, 403, role)
    }
    t.equal((await get(server, `${ROOT}/${log}/checkpoint`, 'nobody')).status, 401)
  })

  await t.test(
    'verify --url copies, verifies, and detects a log that does not extend the copy',
    async (t) => {
      const folder = await temporaryFolder(t)
      const environment = { LATCHKEY_TOKEN: token('auditor'), LATCHKEY_CACERT: pki.caFile }
      const url = `https://localhost:${String(server.running.admin?.port)}`
      const verify = (...words: readonly string[]) =>
        latchkeyHere(['audit', 'verify', '--url', url, ...words], environment)
      const kept = ['--folder', folder, '--public-key', publicKey]
      t.match(await verify(), { code: 64, stderr: /--public-key/ })
      t.match(await verify('--public-key', publicKey), { code: 0, stdout: /\ncontrol .* valid\n/ })
      t.match(await verify(...kept), { code: 0, stdout: / valid\n$/, stderr: /2 logs copied/ })
      await call(server, `/keys/${KEY_ID}/encrypt`, encryptBody())
      const sizeOf = () =>
        Number(readFileSync(join(root, log, 'checkpoint'), 'utf8').split('\n')[1])
      const before = sizeOf()
      await eventually(() => sizeOf() > before)
      t.match(await verify(...kept), { code: 0 }, 'the copy grows')
      t.equal(readPlainly(join(folder, log)).length, sizeOf())

      await server.stop()
      // Serve an older copy of a log whose process has exited. The control log records the log's final size.
      await rm(join(root, log), { recursive: true })
      await cp(join(folder, log), join(root, log), { recursive: true })
      await server.start()
      const again = `https://localhost:${String(server.running.admin?.port)}`
      const words = ['audit', 'verify', '--url', again, ...kept]
      await eventually(() =>
        readPlainly(join(root, 'control')).some(({ event }) => event === 'audit-closed'),
      )
      const found = await latchkeyHere(words, environment)
      t.match(found, { code: 65, stdout: /rolled-back at entry \d+: the control log records/ })

      const known = readFileSync(join(folder, log, 'checkpoint'), 'utf8')
      const empty = `${known.split('\n')[0] ?? ''}\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n`
      await writeFile(join(root, log, 'checkpoint'), empty)
      t.match(await latchkeyHere(words, environment), {
        code: 65,
        stdout: /\n\S+: signature: .*incoming: the checkpoint is not signed/,
      })
      t.equal(readFileSync(join(folder, log, 'checkpoint'), 'utf8'), known, 'what was known stays')
      const foreign = ['--url', again, '--public-key', Buffer.alloc(32, 1).toString('base64')]
      t.match(await latchkeyHere(['audit', 'verify', ...foreign], environment), {
        ...{ code: 65, stderr: /signature: .*certificate is not signed by this key/ },
      })
      await server.stop()
    },
  )
})
