/**
 * Checks that docs/metrics.md lists exactly the metrics in a real scrape, and that dashboards and alerts use no others.
 */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { METRICS } from '../../src/observability/metrics/catalogue.ts'
import { createMetricsRegistry } from '../../src/observability/metrics/registry.ts'
import { exists, read, section, tableRows } from '../support/repository.ts'

const DOCUMENT = read('docs/metrics.md')
const plain = (cell = '') => cell.replaceAll('`', '')
const rowsOf = (heading: string) => {
  const [, ...rows] = tableRows(section(DOCUMENT, heading))
  return rows.map((cells) => cells.map(plain))
}

void t.test('the document lists every Node.js metric that prom-client exports', async (t) => {
  const names = async () => {
    const text = await createMetricsRegistry().text()
    return [...text.matchAll(/^# TYPE (\S+) /gm)].map(([, name = '']) => name)
  }
  t.same(
    rowsOf('## Node.js metrics')
      .map(([name]) => name)
      .sort(),
    (await names()).sort(),
  )
})

void t.test('names follow the Prometheus conventions', (t) => {
  for (const [name, { type }] of Object.entries(METRICS)) {
    t.match(name, /^latchkey_[a-z0-9_]+$/)
    t.equal(name.endsWith('_total'), type === 'counter', `${name} is a ${type}`)
    if (type === 'histogram') t.match(name, /_seconds$/)
  }
  t.end()
})

void t.test('each CloudWatch metric for external key stores has a counterpart', (t) => {
  const rows = rowsOf("## CloudWatch's metrics")
  t.same(
    rows.map(([name]) => name),
    [
      'XksProxyLatency',
      'XksProxyErrors',
      'XksProxyCertificateDaysToExpire',
      'XksProxyCredentialAge',
      'XksExternalKeyManagerStates',
      'ExternalKeyStoreThrottle',
    ],
  )
  for (const [name, ours = ''] of rows) {
    const named = ours.match(/latchkey_[a-z0-9_]+/g) ?? []
    t.ok(named.length > 0 && named.every((one) => one in METRICS), name ?? '')
  }
  t.end()
})

for (const file of ['docker/grafana/dashboard.json', 'docker/prometheus/alerts.yml'])
  void t.test(`${file} queries only existing metrics`, (t) => {
    t.ok(exists(file))
    const named = [...new Set(read(file).match(/\b(?:latchkey|nodejs|process)_[a-z0-9_]+/g))]
    t.ok(named.length >= 4)
    const known = new Set([
      ...rowsOf('## Node.js metrics').map(([name = '']) => name),
      ...Object.entries(METRICS).flatMap(([name, { type }]) =>
        type === 'histogram' ? ['', '_bucket', '_sum', '_count'].map((end) => name + end) : [name],
      ),
    ])
    t.same(
      named.filter((name) => !known.has(name)),
      [],
    )
    t.end()
  })

void t.test('the dashboard shows every metric', (t) => {
  const shown = read('docker/grafana/dashboard.json')
  t.same(
    Object.keys(METRICS).filter(
      (name) => !new RegExp(`\\b${name}(_bucket|_sum|_count)?\\b`).test(shown),
    ),
    [],
  )
  t.end()
})
