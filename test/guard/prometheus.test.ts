/** Validates the scrape configuration, the alert rules and every dashboard query with Prometheus itself. */
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
  'the scrape configuration and alert rules are valid, and the rules pass their tests',
  async (t) => {
    t.match((await promtool(['check', 'config', 'prometheus.yml'])).stdout, 'SUCCESS')
    t.match((await promtool(['check', 'rules', 'alerts.yml'])).stdout, /SUCCESS: \d+ rules found/)
    for (const file of ['alerts.test.yml', 'alerts-days.test.yml'])
      t.match((await promtool(['test', 'rules', file])).stdout, 'SUCCESS')
  },
)

interface Panel {
  readonly title: string
  readonly fieldConfig?: { readonly defaults: { readonly noValue?: string } }
  readonly targets?: readonly { readonly expr: string }[]
  readonly gridPos: Readonly<Record<'x' | 'y' | 'w' | 'h', number>>
}

const { panels } = JSON.parse(read('docker/grafana/dashboard.json')) as { panels: Panel[] }
/** Replaces Grafana's own variable `$__rate_interval` with 5m, and the dashboard's variables with `value`. */
const fillIn = (expr: string, value: string) =>
  expr.replaceAll('$__rate_interval', '5m').replaceAll(/\$\w+/g, value)

void t.test('every dashboard query is valid, and no panels overlap', async (t) => {
  const queries = panels.flatMap(({ targets }) => targets?.map(({ expr }) => expr) ?? [])
  t.ok(queries.length > 20)
  const rules = queries.map((expr, i) => ({
    record: `query_${String(i)}`,
    expr: fillIn(expr, 'x'),
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

void t.test('promtool accepts a real scrape', async (t) => {
  const server = await startTestServer(t)
  await call(server, '/health', { requestMetadata: requestMetadata('KmsHealthCheck') })
  const text = await server.running.metrics()
  const checking = promtool(['check', 'metrics'])
  checking.child.stdin?.end(`${text.trimEnd()}\n`)
  const { stdout, stderr } = await checking
  t.equal(stdout + stderr, '')
})

void t.test('panels of a server that has had no requests show 0 or their own text', async (t) => {
  const server = await startTestServer(t)
  const samples = [...(await server.running.metrics()).matchAll(/^(\w+)(?:\{(.*)\})? (\S+)$/gm)]
  t.ok(samples.length > 50)
  const inputSeries = samples.map(([, name = '', labels = '', value = '']) => ({
    series: `${name}{${labels === '' ? '' : `${labels},`}instance="x",job="latchkey"}`,
    values: `${value}x60`,
  }))
  const shown = panels.filter(
    ({ targets = [], fieldConfig }) =>
      targets.length > 0 && fieldConfig?.defaults.noValue === undefined,
  )
  t.ok(shown.length > 30)
  // In PromQL, absent() returns an empty result if its argument has any samples.
  const missing = shown.map(({ targets = [] }) => ({
    expr: `absent(${targets.map(({ expr }) => `(${fillIn(expr, '.*')})`).join(' or ')})`,
    eval_time: '10m',
    exp_samples: [],
  }))
  const file = join(await temporaryFolder(t), 'panels.yml')
  const tests = [{ interval: '15s', input_series: inputSeries, promql_expr_test: missing }]
  await writeFile(file, JSON.stringify({ evaluation_interval: '15s', tests }))
  t.match((await promtool(['test', 'rules', file])).stdout, 'SUCCESS')
})
