/** Checks that every alert links to its section in docs/alerts.md. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { parse } from 'yaml'
import { read } from '../support/repository.ts'

interface Rule {
  readonly alert: string
  readonly annotations: Readonly<Record<string, string>>
}

void t.test('every alert links to its section', (t) => {
  const { groups } = parse(read('docker/prometheus/alerts.yml')) as {
    groups: readonly { readonly rules: readonly Rule[] }[]
  }
  const rules = groups.flatMap(({ rules }) => rules)
  for (const { alert, annotations } of rules) {
    t.equal(
      annotations['runbook_url'],
      `https://latchkey.example/docs/alerts.md#${alert.toLowerCase()}`,
    )
  }
  const sections = [...read('docs/alerts.md').matchAll(/^## (\w+)$/gm)].map(([, name = '']) => name)
  t.same(sections.sort(), rules.map(({ alert }) => alert).sort())
  t.end()
})

void t.test('the log messages that alerts and their sections name exist', (t) => {
  const messages = read('docs/logging.md')
  let count = 0
  for (const file of ['docker/prometheus/alerts.yml', 'docs/alerts.md']) {
    const text = read(file).replaceAll(/\s+/g, ' ')
    for (const [, message = ''] of text.matchAll(/\blog (?:line|has) ["`]([^"`]+)["`]/g)) {
      count += 1
      t.ok(messages.includes(`| \`${message}\` |`), `${file}: ${message}`)
    }
  }
  t.ok(count > 10)
  t.end()
})
