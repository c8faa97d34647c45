/** Checks that every alert has a section in docs/alerts.md, and a link to it. */
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
