/** Cases in which a proxy has exactly one fault, each with the finding that doctor must report for it. */
// SPDX-License-Identifier: Apache-2.0
import type { Test } from 'tap'
import type { Finding, Verdict } from '../../src/tools/doctor/finding.ts'
import type { Session } from '../../src/tools/doctor/session.ts'
import { startBrokenProxy, type Faults, type PassingAnswer } from './broken-proxy.ts'
import type { TestServer } from './server.ts'

type Json = Record<string, unknown>

export interface DoctorCase {
  readonly what: string
  readonly faults: Faults
  readonly look: (session: Session) => Promise<readonly Finding[]>
  /** Prefixes of check names. At least one check with each prefix must have this result. */
  readonly expected: Readonly<Record<string, 'warn' | 'fail'>>
  readonly says?: RegExp
}

/** Changes fields in a successful response. `undefined` removes a field. */
export const fields =
  (operation: string, change: (body: Json) => Json): NonNullable<Faults['spoil']> =>
  (answer, { target }) => {
    if (answer.status !== 200 || !target.endsWith(operation)) return
    const body = JSON.parse(answer.body) as Json
    answer.body = JSON.stringify({ ...body, ...change(body) })
  }

export const onErrors =
  (change: (answer: PassingAnswer) => void) =>
  (answer: PassingAnswer): void => {
    if (answer.status !== 200) change(answer)
  }

export const named = (change: Json) =>
  onErrors((answer) => {
    answer.body = JSON.stringify({ ...(JSON.parse(answer.body) as Json), ...change })
  })

export function verdictsOf(findings: readonly Finding[], check: string): ReadonlySet<Verdict> {
  return new Set(
    findings.filter((one) => one.check.startsWith(check)).map(({ verdict }) => verdict),
  )
}

export function testCases(t: Test, server: TestServer, cases: readonly DoctorCase[]): void {
  for (const { what, faults, look, expected, says } of cases) {
    void t.test(`doctor sees: ${what}`, async (t) => {
      const proxy = await startBrokenProxy(t, server, faults)
      const findings = await look(proxy.session())
      for (const [check, verdict] of Object.entries(expected)) {
        const verdicts = verdictsOf(findings, check)
        t.ok(verdicts.has(verdict), `${check}: ${[...verdicts].join()}`)
      }
      const bad = findings.filter(({ verdict }) => verdict !== 'ok')
      t.ok(
        bad.every(({ hint: mend }) => mend !== undefined && mend !== ''),
        'each says how to mend it',
      )
      if (says !== undefined) t.match(bad.map(({ detail }) => detail).join('\n'), says)
      t.notMatch(JSON.stringify(findings), server.credential.secretAccessKey.reveal())
    })
  }
}
