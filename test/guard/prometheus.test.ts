/**
 * Lets Prometheus read the scrape configuration, the alert rules and every query of the dashboard.
 */
// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { temporaryFolder } from '../support/cli.ts'
import { read, ROOT } from '../support/repository.ts'
import { startTestServer } from '../support/server.ts'
import { call, requestMetadata } from '../support/wire.ts'

const run = promisify(execFile)
const promtool = (words: readonly string[]) =>
  run('promtool', [...words], { cwd: join(ROOT, 'docker/prometheus') })

void t.test(
  'scrape configuration and alert rules are valid, and the rules do as they say',
  async (t) => {
    t.match((await promtool(['check', 'config', 'prometheus.yml'])).stdout, 'SUCCESS')
    t.match((await promtool(['check', 'rules', 'alerts.yml'])).stdout, /SUCCESS: \d+ rules found/)
    for (const file of ['alerts.test.yml', 'alerts-days.test.yml'])
      t.match((await promtool(['test', 'rules', file])).stdout, 'SUCCESS')
  },
)

interface Panel {
  readonly title: string
  readonly targets?: readonly { readonly expr: string }[]
  readonly gridPos: Readonly<Record<'x' | 'y' | 'w' | 'h', number>>
}

void t.test('every query of the dashboard is valid, and no panel lies on another', async (t) => {
  const { panels } = JSON.parse(read('docker/grafana/dashboard.json')) as { panels: Panel[] }
  const queries = panels.flatMap(({ targets }) => targets?.map(({ expr }) => expr) ?? [])
  t.ok(queries.length > 20)
  const rules = queries.map((expr, i) => ({
    record: `query_${String(i)}`,
    expr: expr.replaceAll('$__rate_interval', '5m').replaceAll(/\$\w+/g, 'x'),
  }))
  const file = join(await temporaryFolder(t), 'queries.yml')
  await writeFile(file, JSON.stringify({ groups: [{ name: 'dashboard', rules }] }))
  const { stdout } = await promtool(['check', 'rules', file])
  t.match(stdout, `SUCCESS: ${String(queries.length)} rules found`)
  const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
    Array.from({ length: w * h }, (_, i) => [x + (i % w), y + Math.floor(i / w)].join(' ')),
  )
  t.equal(new Set(cells).size, cells.length)
})

void t.test('a real scrape is what promtool calls clean', async (t) => {
  const server = await startTestServer(t)
  await call(server, '/health', { requestMetadata: requestMetadata('KmsHealthCheck') })
  const text = await server.running.metrics()
  const checking = promtool(['check', 'metrics'])
  checking.child.stdin?.end(`${text.trimEnd()}\n`)
  const { stdout, stderr } = await checking
  t.equal(stdout + stderr, '')
})
