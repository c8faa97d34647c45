/** Runs `latchkey bench` as a program, against the real server and against one that throttles. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import type { LoadResult } from '../../src/tools/bench/open-loop.ts'
import { startBrokenProxy } from '../support/broken-proxy.ts'
import { latchkey, latchkeyHere } from '../support/cli.ts'
import { writeConsoleFile } from '../support/console-file.ts'
import { KEY_ID, startTestServer } from '../support/server.ts'
import { openPage, type Placeholders } from '../support/shown-commands.ts'

const page = openPage('docs/latency.md', 'bench')

async function start(t: Test) {
  const server = await startTestServer(t)
  const file = await writeConsoleFile(server)
  const words = (port: number) => [
    ...['bench', '-e', `https://localhost:${String(port)}`, '--credential', file, '-k', KEY_ID],
    ...['--ca', server.pki.caFile, '--duration', '1'],
  ]
  /** Returns the next command in docs/latency.md, for the server on this port. */
  const shown = (port: number, more: Placeholders = {}) => [
    ...page.take('bench', {
      ...{ 'https://xks.example.com': `https://localhost:${String(port)}`, ...more },
      ...{ 'kms-console.json': file, 'payroll-2026': KEY_ID },
    }),
    ...['--ca', server.pki.caFile],
  ]
  return { server, words, shown }
}

for (const lanes of ['kept', 'new', 'http2']) {
  void t.test(`two rates, by ${lanes} connections`, async (t) => {
    const { server, words, shown } = await start(t)
    const rates =
      lanes === 'kept'
        ? shown(server.port, { '500,1800': '20,40', '60': '1' })
        : [...words(server.port), '--rate', '20,40']
    const all = [...rates, '--lanes', lanes, '--connections', '8', '--json']
    const { code, stdout, stderr } = await latchkey(t, all)
    t.equal(code, 0, stderr)
    const { results } = JSON.parse(stdout) as { results: readonly LoadResult[] }
    t.same(
      results.map(({ rate, due, succeeded, errors }) => ({ rate, due, succeeded, errors })),
      [
        { rate: 20, due: 20, succeeded: 20, errors: {} },
        { rate: 40, due: 40, succeeded: 40, errors: {} },
      ],
    )
    for (const { latencyMs, serviceMs } of results) {
      t.ok(latencyMs.p50 > 0 && latencyMs.p50 <= latencyMs.p99)
      t.ok(serviceMs.decrypt !== undefined && serviceMs.encrypt !== undefined)
    }
    t.notMatch(stdout + stderr, server.credential.secretAccessKey.reveal())
    const requests = (await server.stopAndReadLog()).filter(({ msg }) => msg === 'request')
    t.ok(requests.every(({ status }) => status === 200))
    const http = new Set(requests.map((line) => line['http']))
    t.equal(http.has('2.0'), lanes === 'http2')
  })
}

void t.test('prints a table, including refusals', async (t) => {
  const { server, words, shown } = await start(t)
  const { port } = await startBrokenProxy(t, server, {
    spoil: (answer, { target }) => {
      if (!target.endsWith('/decrypt')) return
      answer.status = 429
      answer.body = '{"errorName":"ThrottlingException"}'
    },
  })
  const mix = ['--mix', 'decrypt=1,encrypt=1', '--rate', '20']
  const { code, stdout } = await latchkey(t, [...words(port), ...mix])
  t.equal(code, 0)
  t.match(stdout, /^rate\/s +200\/s +p50 +p90 +p99 +p99\.9 +max +lag p99 +errors$/m)
  t.match(stdout, /^ +20 .* 10 x 429 "ThrottlingException"$/m)

  // The search is short, because this proxy cannot sustain any rate of Decrypt requests.
  const found = await latchkey(t, [...shown(port), '--duration', '1', '--json'])
  t.equal(found.code, 0, found.stderr)
  t.match(JSON.parse(found.stdout), { limitedBy: String, results: [{ rate: 200 }, { rate: 100 }] })
  t.same(page.remaining(), [], 'every bench command in docs/latency.md has been run')
})

void t.test('explains why nothing can be measured, and rejects invalid flags', async (t) => {
  const { server, words } = await start(t)
  const all = words(server.port)
  const other = all.map((word) => (word === KEY_ID ? 'no-such-key' : word))
  const { code, stderr } = await latchkey(t, other)
  t.equal(code, 1)
  t.match(stderr, /the response to Encrypt was 404 "KeyNotFoundException"/)
  for (const more of [
    ['--rate', 'x'],
    ['--lanes', 'x'],
    ['--mix', 'x'],
  ]) {
    t.equal((await latchkeyHere([...all, ...more])).code, 64, more.join(' '))
  }
})
