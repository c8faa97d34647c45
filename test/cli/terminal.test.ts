/** Tests the listings in an 80-column terminal, with NO_COLOR, and when the output is not a terminal. */
// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { run } from '../../src/cli/run.ts'
import { type Ended, latchkey, MAIN } from '../support/cli.ts'
import { writeConsoleFile } from '../support/console-file.ts'
import { KILLED, eventually, KEY_ID, startTestServer } from '../support/server.ts'
import { decryptBody, encryptBody, requestMetadata } from '../support/wire.ts'

const COLUMNS = 80
const LONG_KEY = `payroll-${'2026-'.repeat(20)}end`
const ROLE = `arn:aws:sts::111122223333:assumed-role/${'a-long-role-name-'.repeat(4)}/i-0123456789abcdef0`
const OPERATOR = `night-shift-${'of-the-payroll-team-'.repeat(2)}lead`
const REASON = `${'the laptop of a member of the team was stolen from a train '.repeat(3)}(incident 4711)`

/** Fills a store with long names, and keeps the server that uses it running. */
async function prepare(t: Test) {
  const server = await startTestServer(t, {
    config: { control: KILLED, audit: { mode: 'buffered' } },
  })
  const environment = {
    LATCHKEY_CONFIG: server.configFile,
    XDG_CONFIG_HOME: join(server.folder, 'home'),
  }
  const here = async (...words: readonly string[]): Promise<Ended> => {
    let [stdout, stderr] = ['', '']
    const code = await run(words, environment, {
      stdout: (text) => (stdout += text),
      stderr: (text) => (stderr += text),
      ...{ columns: COLUMNS, stderrColumns: COLUMNS, isTerminal: true },
    })
    return { code, stdout, stderr }
  }
  const client = server.client()
  for (const [id, awsPrincipalArn] of [
    ['a', ROLE],
    ['b', 'AWS Internal'],
  ] as const) {
    const call = (name: string, kind: string, body: Record<string, unknown>) =>
      client.post(
        `/keys/${KEY_ID}/${name}`,
        JSON.stringify({
          ...body,
          requestMetadata: requestMetadata(kind, { awsPrincipalArn, kmsRequestId: id.repeat(36) }),
        }),
      )
    const sealed = await call('encrypt', 'Encrypt', encryptBody())
    await call('decrypt', 'Decrypt', decryptBody(sealed.body as Record<string, unknown>))
  }
  const policy = join(server.folder, `${'policies-of-the-payroll-team-'.repeat(2)}1.cedar`)
  await writeFile(policy, '@id("every-caller") permit(principal, action, resource);\n')
  const by = ['--operator', OPERATOR]
  const why = ['--reason', REASON, ...by]
  for (const words of [
    ['keys', 'create', LONG_KEY],
    ['operators', 'add', '--yes', OPERATOR, '--role', 'viewer', '--key-stores', 'demo'],
    ['admin', 'tokens', 'create', OPERATOR, '--expires', '90d'],
    ['policy', 'put', policy, ...why, '--yes'],
    ['kill', '--key-store', 'demo', '--key', LONG_KEY, '--direction', 'decrypt', ...why],
    ['kill', '--principal', ROLE, ...why],
    [
      'context',
      'add',
      `context-${'x'.repeat(40)}`,
      '--address',
      `https://${'x'.repeat(60)}.example.com`,
    ],
  ]) {
    const ended = await here(...words)
    t.equal(ended.code, 0, `${words.join(' ')}: ${ended.stderr}`)
  }
  await here('context', 'use', 'local')
  await eventually(async () => (await here('exposure', '--wide')).stdout.includes(ROLE))
  const remote = [
    ...['-e', `https://localhost:${String(server.port)}`, '-k', KEY_ID],
    ...['--credential', await writeConsoleFile(server), '--ca', server.pki.caFile],
  ]
  return { server, environment, here, remote }
}

/** Listing commands, each with the text (if any) that it shows in full only with --wide. */
const LISTINGS: readonly (readonly [string, string | undefined])[] = [
  ['status', LONG_KEY],
  ['events', REASON],
  ['keys list', LONG_KEY],
  ['credentials list', undefined],
  ['exposure', ROLE],
  ['receipt list', ROLE],
  ['policy list', undefined],
  ['policy history', REASON],
  ['operators list', OPERATOR],
  ['admin tokens list', OPERATOR],
  ['context list', 'x'.repeat(60)],
  ['audit search', ROLE],
  ['audit tail', ROLE],
  ['audit verify', undefined],
]

const ESCAPE = /\u001b/

function tooLong(text: string): readonly string[] {
  return text.split(/\r?\n/).filter((line) => line.length > COLUMNS)
}

void t.test('no listing has a line over 80 columns or an escape sequence', async (t) => {
  const { server, environment, here, remote } = await prepare(t)
  for (const [name, text] of LISTINGS) {
    const shown = await here(...name.split(' '))
    t.equal(shown.code, 0, `${name}: ${shown.stderr}`)
    t.not(shown.stdout.trim(), '', `${name} shows something`)
    t.same(tooLong(shown.stdout + shown.stderr), [], name)
    t.notMatch(shown.stdout + shown.stderr, ESCAPE, name)
    const wide = await here(...name.split(' '), '--wide')
    if (text !== undefined) t.ok(wide.stdout.includes(text), `${name} --wide`)
  }

  await t.test('in a pseudo-terminal, as a process', async (t) => {
    const quick = [...remote, '--requests', '5', '--connections', '2', '--idle', '0']
    const commands = [
      ['status'],
      ['events'],
      ['doctor', ...quick, '--strict'],
      ['bench', ...remote, '--rate', '20,40', '--duration', '1'],
    ]
    for (const words of commands) {
      const quoted = [process.execPath, MAIN, ...words].map((word) => `'${word}'`).join(' ')
      const { stdout } = await promisify(execFile)(
        'script',
        ['-qc', `stty cols ${String(COLUMNS)}; ${quoted}`, '/dev/null'],
        { env: { ...process.env, ...environment, NO_COLOR: '1' } },
      )
      // Progress output overwrites its own line, so each update is checked as a separate line.
      const lines = stdout.split(/\r*\n/).flatMap((line) => line.split('\r'))
      const name = words.slice(0, 1).join()
      t.ok(lines.length > 2, `${name}: ${stdout}`)
      t.same(tooLong(lines.join('\n')), [], name)
      t.notMatch(stdout, ESCAPE, name)
    }
  })

  await t.test('away from a terminal, lines are whole', async (t) => {
    const { stdout, stderr } = await latchkey(t, ['events'], { environment })
    t.ok(stdout.includes(REASON))
    t.notMatch(stdout + stderr, ESCAPE)
  })
  await server.stop()
})
