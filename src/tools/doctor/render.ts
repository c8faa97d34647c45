/** Renders findings and timings as text. */
// SPDX-License-Identifier: Apache-2.0
import { toTable } from '../../terminal/output.ts'
import { AREAS, VERDICTS, type Area, type Finding, type Verdict } from './finding.ts'
import type { Examination } from './examine.ts'

const TITLES: Readonly<Record<Area, string>> = {
  address: 'Address',
  tls: 'TLS',
  http: 'HTTP',
  api: 'Operations',
  limits: 'Sizes',
  errors: 'Errors',
  sigv4: 'Signatures',
  time: 'Time',
}

export function countVerdicts(findings: readonly Finding[]): Readonly<Record<Verdict, number>> {
  const count = (verdict: Verdict) => findings.filter((one) => one.verdict === verdict).length
  return Object.fromEntries(VERDICTS.map((verdict) => [verdict, count(verdict)])) as Record<
    Verdict,
    number
  >
}

export function renderExamination({ findings, timings }: Examination): string {
  const areas = AREAS.flatMap((area) => {
    const own = findings.filter((finding) => finding.area === area)
    return own.length === 0 ? [] : [`${TITLES[area]}\n${own.map(renderFinding).join('\n')}`]
  })
  const { ok, warn, fail, skip } = countVerdicts(findings)
  const times = Object.entries(timings)
  return [
    ...areas,
    ...(times.length === 0 ? [] : [renderTimings(times)]),
    `${String(fail)} fail, ${String(warn)} warn, ${String(ok)} ok${skip === 0 ? '' : `, ${String(skip)} skipped`}`,
  ].join('\n\n')
}

/** Shows the name of each check, which --ignore accepts. */
function renderFinding({ verdict, check, detail, hint }: Finding): string {
  const line = `  ${verdict.padEnd(4)}  ${detail}`
  return hint === undefined ? line : `${line}\n        -> ${hint}  [${check}]`
}

function renderTimings(
  times: readonly (readonly [string, Examination['timings'][string]])[],
): string {
  const cell = (ms: number) => ms.toFixed(2).padStart(8)
  const rows = times.map(([name, one]) => [
    `  ${name}`,
    ...[one.p50, one.p90, one.p99, one.p999, one.max].map(cell),
    String(one.count),
  ])
  const headings = [
    '  ms',
    ...['p50', 'p90', 'p99', 'p99.9', 'max'].map((name) => name.padStart(8)),
    'n',
  ]
  return toTable(headings, rows)
}
