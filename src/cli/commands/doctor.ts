/** Implements `latchkey doctor`. */
// SPDX-License-Identifier: Apache-2.0
import { LatchkeyError } from '../../core/errors.ts'
import { type Command, stringFlag, UsageError } from '../../terminal/command.ts'
import { loadRemote, REMOTE_FLAGS } from '../../terminal/flags/remote.ts'
import { countFlag } from '../../terminal/flags/time.ts'
import type { Output } from '../../terminal/output.ts'
import { builtInAuthorities, loadAuthorities } from '../../tools/doctor/authorities.ts'
import { type Examination, examine } from '../../tools/doctor/examine.ts'
import {
  type Area,
  AREAS,
  type Finding,
  type Verdict,
  VERDICTS,
} from '../../tools/doctor/finding.ts'

export const doctor: Command = {
  flags: {
    ...REMOTE_FLAGS,
    authorities: {
      type: 'string',
      value: 'FILE',
      description:
        'Newer TrustedCertificateAuthorities file from AWS (default: the built-in list).',
    },
    requests: {
      type: 'string',
      value: 'N',
      description: 'Number of timed requests for each operation (default: 200).',
    },
    connections: {
      type: 'string',
      value: 'N',
      description: 'Number of timed new connections (default: 20).',
    },
    idle: {
      type: 'string',
      value: 'SECONDS',
      description:
        'Seconds to leave a connection idle, to test whether the proxy keeps it open (default: 10).',
    },
    ignore: {
      type: 'string',
      value: 'CHECKS',
      description: 'Checks to skip, by name, such as port,tls-authority.',
    },
    strict: { type: 'boolean', description: 'Exit with code 1 even if there are only warnings.' },
  },
  examples: [
    'latchkey doctor --endpoint https://xks.example.com --credential kms-console.json --key-id payroll-2026',
    'latchkey doctor -e https://localhost:8443 --credential demo/kms-console.json -k demo-key --ca demo/pki/ca.crt',
  ],
  async run(context) {
    const remote = await loadRemote(context)
    const file = stringFlag(context, 'authorities')
    const authorities = file === undefined ? builtInAuthorities() : await loadAuthorities(file)
    const examination = await examine(remote, {
      authorities,
      idleMs: countFlag(context, 'idle', { otherwise: 10, least: 0, most: 600 }) * 1000,
      counts: {
        requests: countFlag(context, 'requests', { otherwise: 200, least: 1, most: 100_000 }),
        connections: countFlag(context, 'connections', { otherwise: 20, least: 1, most: 1000 }),
      },
    })
    const findings = ignore(examination.findings, stringFlag(context, 'ignore')?.split(',') ?? [])
    const counts = countVerdicts(findings)
    const shown = renderExamination({ ...examination, findings }, context.output)
    context.output.result(shown, {
      endpoint: `https://${remote.hostHeader}${remote.uriPath}`,
      counts,
      findings,
      timingsMs: examination.timings,
    })
    const isStrict = context.flags['strict'] === true
    if (counts.fail > 0 || (isStrict && counts.warn > 0)) {
      const what = `${String(counts.fail)} checks failed, and ${String(counts.warn)} gave warnings`
      throw new LatchkeyError('DOCTOR_FAILED', what)
    }
  },
}

/**
 * Skips checks whose failure is known and accepted, such as the check of the certificate authority
 * in a trial.
 */
function ignore(findings: readonly Finding[], checks: readonly string[]): readonly Finding[] {
  const unknown = checks.filter((check) => !findings.some((finding) => finding.check === check))
  if (unknown.length > 0) {
    throw new UsageError('USAGE', `--ignore: unknown checks: ${unknown.join(', ')}`)
  }
  return findings.map((finding) =>
    checks.includes(finding.check)
      ? {
          area: finding.area,
          check: finding.check,
          verdict: 'skip',
          detail: `ignored: ${finding.detail}`,
        }
      : finding,
  )
}

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

function countVerdicts(findings: readonly Finding[]): Readonly<Record<Verdict, number>> {
  const count = (verdict: Verdict) => findings.filter((one) => one.verdict === verdict).length
  return Object.fromEntries(VERDICTS.map((verdict) => [verdict, count(verdict)])) as Record<
    Verdict,
    number
  >
}

function renderExamination({ findings, timings }: Examination, output: Output): string {
  const areas = AREAS.flatMap((area) => {
    const own = findings.filter((finding) => finding.area === area)
    return own.length === 0 ? [] : [`${TITLES[area]}\n${own.map(renderFinding).join('\n')}`]
  })
  const { ok, warn, fail, skip } = countVerdicts(findings)
  const times = Object.entries(timings)
  const parts = [
    ...areas,
    ...(times.length === 0 ? [] : [renderTimings(times, output)]),
    `${String(fail)} fail, ${String(warn)} warn, ${String(ok)} ok${skip === 0 ? '' : `, ${String(skip)} skipped`}`,
  ]
  return output.fold(parts.join('\n\n'))
}

/** Includes the name of the check, which a user can pass to --ignore. */
function renderFinding({ verdict, check, detail, hint }: Finding): string {
  const line = `  ${verdict.padEnd(4)}  ${detail}`
  return hint === undefined ? line : `${line}\n        -> ${hint}  [${check}]`
}

function renderTimings(
  times: readonly (readonly [string, Examination['timings'][string]])[],
  output: Output,
): string {
  const rows = times.map(([name, one]) => [
    `  ${name}`,
    ...[one.p50, one.p90, one.p99, one.p999, one.max].map((ms) => ms.toFixed(2)),
    String(one.count),
  ])
  const headings = ['  ms', 'p50', 'p90', 'p99', 'p99.9', 'max', 'n']
  return output.table(headings, rows, { right: [1, 2, 3, 4, 5] })
}
