/** Tests every emergency command on both engines, with all adverse conditions combined. */
// SPDX-License-Identifier: Apache-2.0
import { chmod } from 'node:fs/promises'
import t, { type Test } from 'tap'
import { MAIN, type Workspace, workspace } from '../support/cli.ts'
import { startPostgres } from '../support/postgres.ts'
import { edit, FAULTS, giveAway, type Privation, runDeprived, UID } from '../support/privation.ts'

t.setTimeout(300_000)

/**
 * Runs the command in its own mount namespace, as a user without a passwd entry. The file system is read-only, except
 * for the store's folder if the test keeps it writable.
 */
const DEPRIVE = `
mount --bind /dev/null /etc/passwd
mount --bind /dev/null /etc/resolv.conf
mount --bind "$1" "$1"
mount -o remount,ro,bind /
if [ "$2" = read-only ]; then mount -o remount,ro,bind "$1"; fi
if touch /probe || { [ "$2" = read-only ] && touch "$1/probe"; }; then exit 99; fi 2> /dev/null
shift 2
cd /proc
exec setpriv --reuid=${String(UID)} --regid=${String(UID)} --clear-groups "$@"`

const SHIFTED = ['--time', '--boottime', '1000000', '--monotonic', '1000000']

/** Combines all conditions that can occur together. */
function everything(folder: 'writable' | 'read-only', more: readonly string[]): Privation {
  return {
    name: 'everything at once',
    prepare: async (place) => {
      await edit(place, FAULTS)
      await giveAway(place)
    },
    environment: { TMPDIR: '/nowhere', STATE_DIRECTORY: '/proc' },
    by: (place) => [
      ...['unshare', '--mount', ...SHIFTED, ...more],
      ...['sh', '-c', DEPRIVE, '-', place.folder, folder],
    ],
  }
}

const COMMANDS: readonly (readonly [words: readonly string[], shows: RegExp])[] = [
  [['kill', '--all', '--reason', 'a test'], /^revoked all/m],
  [['status'], /1 switch in force/],
  [['restore', '--all', '--reason', 'a test', '--yes'], /^restored/m],
  [['drill', '--key-store', 'demo'], /^revoked after .*restored after/m],
  [['deadman', 'start', '--for', '1h', '--reason', 'a test', '--yes'], /demo/],
  [['deadman', 'renew', '--reason', 'a test'], /demo/],
  [['deadman', 'close', '--reason', 'a test'], /demo/],
]

async function checkCommands(t: Test, place: Workspace, privation: Privation): Promise<void> {
  await chmod(place.folder, 0o755)
  await privation.prepare?.(place)
  for (const [words, shows] of COMMANDS) {
    const { code, output } = await runDeprived(place, privation, [MAIN, ...words])
    t.equal(code, 0, `${words.join(' ')}: ${output}`)
    t.match(output, shows)
  }
}

void t.test(
  'SQLite: every emergency command works under all adverse conditions at once',
  async (t) => {
    await checkCommands(t, await workspace(t), everything('writable', ['--net']))
  },
)

void t.test('PostgreSQL: the same, with no writable folder', async (t) => {
  const server = await startPostgres(t)
  const { host, port, database, user } = await server.createDatabase()
  const postgres = { host, port, database, user, tls: { mode: 'off' } }
  const settings = { store: { postgres, masterKey: { file: 'master.key' } } }
  await checkCommands(t, await workspace(t, { settings }), everything('read-only', []))
})
