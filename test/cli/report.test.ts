/** Runs `latchkey report` against a demo that it starts itself, and against a running server. */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { ReportData } from '../../src/tools/report/findings.ts'
import { latchkey, temporaryFolder } from '../support/cli.ts'
import { writeConsoleFile } from '../support/console-file.ts'
import { KEY_ID, startTestServer } from '../support/server.ts'
import { openPage } from '../support/shown-commands.ts'

const guide = openPage('docs/latency.md', 'report')
const QUICK = ['--calls', '30', '--connections', '3', '--seconds', '1', '--max-rate', '125']

void t.test('reports on a demo in all four ways, with times by stage', async (t) => {
  const cwd = await temporaryFolder(t)
  const { code, stdout, stderr } = await latchkey(t, [...guide.take('report'), ...QUICK], { cwd })
  t.equal(code, 0, stderr)
  t.match(stdout, /Behind this proxy, an Encrypt takes .*\n\nreport\.html\nreport\.json\n$/)
  const data = JSON.parse(await readFile(join(cwd, 'report.json'), 'utf8')) as ReportData
  t.same(
    data.rungs.map(({ name, encrypt }) => [name, encrypt.summary.count]),
    [
      ['in-process', 30],
      ['backend', 30],
      ['kept', 30],
      ['new', 3],
    ],
  )
  const median = (name: string) =>
    data.rungs.find((rung) => rung.name === name)?.encrypt.summary.p50 ?? 0
  t.ok(median('in-process') < median('kept') && median('kept') < median('new'))
  t.same(data.stages.map(({ operation }) => operation).sort(), ['Decrypt', 'Encrypt'])
  for (const { stagesMs, totalMs } of data.stages) t.ok('auth' in stagesMs && totalMs > 0)
  // On a slow machine, the report also measures lower rates.
  t.ok(data.rates.some(({ rate }) => rate === 125))
  t.equal(data.links.length, 4)
  t.match(await readFile(join(cwd, 'report.html'), 'utf8'), /^<!doctype html>/)
})

void t.test('reports on a running server, with its configuration and its log', async (t) => {
  const server = await startTestServer(t)
  const secret = server.credential.secretAccessKey.reveal()
  const out = join(server.folder, 'xks.html')
  const base = [
    ...['report', '-e', `https://localhost:${String(server.port)}`, '-k', KEY_ID, '--out', out],
    ...['--credential', await writeConsoleFile(server), '--ca', server.pki.caFile, ...QUICK],
  ]
  const shown = guide.take('report', {
    'https://xks.example.com': `https://localhost:${String(server.port)}`,
    ...{ 'kms-console.json': await writeConsoleFile(server), 'payroll-2026': KEY_ID },
    ...{ 'latchkey.yaml': server.configFile, 'latchkey.log': server.logFile },
  })
  const more = ['--ca', server.pki.caFile, '--out', out, ...QUICK, '--json']
  const { code, stdout, stderr } = await latchkey(t, [...shown, ...more])
  t.equal(code, 0, stderr)
  const data = JSON.parse(stdout) as ReportData & { page: string }
  t.equal(data.page, out)
  t.equal(data.rungs.length, 4)
  t.equal(data.stages.length, 2)
  const page = await readFile(out, 'utf8')
  t.notMatch(page + stdout + stderr, secret)

  const without = await latchkey(t, base)
  t.equal(without.code, 0, without.stderr)
  const other = JSON.parse(await readFile(join(server.folder, 'xks.json'), 'utf8')) as ReportData
  t.same(
    other.rungs.map(({ name }) => name),
    ['in-process', 'kept', 'new'],
    'a proxy of any vendor has no backend that can be measured alone',
  )
  t.same(other.stages, [])
  t.match(await readFile(out, 'utf8'), /pass its request log with <code>--log<\/code>/)
  t.same(guide.remaining(), [], 'every report command in docs/latency.md has been run')
})
