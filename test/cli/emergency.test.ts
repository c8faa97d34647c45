/**
 * Tests `kill` under adverse conditions, such as a missing user name or home directory, no writable folder, missing
 * certificates, or an incomplete configuration.
 */
// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process'
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { MAIN, type Workspace, workspace } from '../support/cli.ts'
import { edit, FAULTS, giveAway, type Privation, runDeprived, UID } from '../support/privation.ts'

t.setTimeout(300_000)

const KILL = [MAIN, 'kill', '--all', '--reason', 'a test']
const asNobody = () => [
  ...['setpriv', `--reuid=${String(UID)}`, `--regid=${String(UID)}`, '--clear-groups'],
]

const TOKEN = {
  ...{ name: 'hsm', kind: 'pkcs11', module: '/nowhere/module.so' },
  tokens: [{ label: 'a', pin: { env: 'PIN_THAT_IS_NOT_SET' } }],
}

const PRIVATIONS: readonly Privation[] = [
  { name: 'an empty environment: no HOME, no USER' },
  { name: 'a uid without a passwd entry', prepare: giveAway, by: asNobody },
  {
    name: 'no /etc/passwd at all',
    // The mounts are visible only inside the new namespace.
    by: () => [
      'unshare',
      '--mount',
      'sh',
      '-c',
      'mount --bind /dev/null /etc/passwd; exec "$@"',
      '-',
    ],
  },
  { name: 'a working directory that cannot be written to', cwd: '/proc' },
  {
    name: 'no DNS and no network',
    by: () => [
      ...['unshare', '--net', '--mount', 'sh', '-c'],
      ...['mount --bind /dev/null /etc/resolv.conf; exec "$@"', '-'],
    ],
  },
  {
    name: 'a temporary folder that cannot be written to',
    environment: { TMPDIR: '/nowhere' },
  },
  {
    name: 'clocks that count from another start',
    by: () => ['unshare', '--time', '--boottime', '1000000', '--monotonic', '1000000', '--'],
  },
  {
    name: 'no certificate and no key of a listener',
    prepare: (place) =>
      edit(place, {
        listener: { port: 0, tls: { certificate: 'gone.crt', privateKey: 'gone.key' } },
        admin: { port: 0, clientCertificates: { ca: 'gone.crt', subjects: [] } },
      }),
  },
  {
    name: 'a PIN that is not in the environment of this shell',
    prepare: (place) =>
      edit(place, {
        backends: [TOKEN],
        keyStores: [{ name: 'demo', prefix: '/demo', backend: 'hsm' }],
      }),
  },
  {
    name: 'faults in every other section',
    prepare: (place) => edit(place, FAULTS),
  },
  {
    name: 'a folder for state that cannot be written to',
    environment: { STATE_DIRECTORY: '/proc' },
  },
]

function runKill(place: Workspace, privation: Privation) {
  return runDeprived(place, privation, KILL)
}

async function checkWritten(t: Test, privation: Privation): Promise<void> {
  const place = await workspace(t)
  // The program itself is already readable by other users; make the test's folder readable too.
  await chmod(place.folder, 0o755)
  await privation.prepare?.(place)
  const { code, output } = await runKill(place, privation)
  t.equal(code, 0, output)
  t.match(output, /^revoked all/m)
}

for (const privation of PRIVATIONS) {
  void t.test(`kill is written: ${privation.name}`, (t) => checkWritten(t, privation))
}

void t.test('no warning prevents a kill from being written', async (t) => {
  const place = await workspace(t)
  const remarks = ['a\nb\tc', 'x'.repeat(20_000), '\ud800 alone', '✓ 🔑', ' \u007f ']
  for (const reason of remarks) {
    const { code, stderr } = await place.run('kill', '--all', '--reason', reason, '--no-wait')
    t.equal(code, 0, stderr)
  }
  const named = await place.run('kill', '--all', '--reason', 'r', '--operator', '\n', '--no-wait')
  t.equal(named.code, 0, named.stderr)
})

void t.test('if nothing can be written, the first line explains how to stop a host', async (t) => {
  const place = await workspace(t)
  const words = ['kill', '--all', '--reason', 'a test']
  const firstLine = async (...more: readonly string[]) =>
    (await place.run(...words, ...more)).stderr.split('\n')[0] ?? ''
  await rm(join(place.folder, 'latchkey.db'))
  await mkdir(join(place.folder, 'latchkey.db'))
  const line = await firstLine()
  t.match(
    line,
    /^latchkey: error: the kill is not confirmed; to stop a host now, touch \S+latchkey\.db\.block/,
  )
  await writeFile(place.configFile, 'store: [')
  t.match(await firstLine(), /to stop a host now, send SIGUSR2 to its latchkey process/)
})

void t.test('if the file cannot grow, the kill explains why and changes nothing', async (t) => {
  const place = await workspace(t)
  // A file size limit simulates a full disk, which would otherwise require a separate file system.
  const words = ['kill', '--all', '--reason', 'r', '--timeout', '1s', '--config', place.configFile]
  const { status, stderr } = spawnSync(
    'prlimit',
    ['--fsize=8192', process.execPath, MAIN, ...words],
    { encoding: 'utf8' },
  )
  t.not(status, 0)
  t.match(stderr, /SQLITE_(IOERR\w*|FULL) \((the disk is full|the file could not be)/)
  t.match(stderr, /to stop a host now, touch \S+latchkey\.db\.block/)
  t.match(await place.json('status'), { switches: [] })
})
