/** `latchkey doctor` */
// SPDX-License-Identifier: Apache-2.0
import { LatchkeyError } from '../../core/errors.ts'
import { type Command, UsageError, stringFlag } from '../../terminal/command.ts'
import { REMOTE_FLAGS, loadRemote } from '../../terminal/flags/remote.ts'
import { countFlag } from '../../terminal/flags/time.ts'
import { builtInAuthorities, loadAuthorities } from '../../tools/doctor/authorities.ts'
import { examine } from '../../tools/doctor/examine.ts'
import type { Finding } from '../../tools/doctor/finding.ts'
import { countVerdicts, renderExamination } from '../../tools/doctor/render.ts'

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
      description: 'Number of timed requests of each operation (default: 200).',
    },
    connections: {
      type: 'string',
      value: 'N',
      description: 'Number of timed new connections (default: 20).',
    },
    idle: {
      type: 'string',
      value: 'SECONDS',
      description: 'How long to leave a connection idle to test whether it is kept (default: 10).',
    },
    ignore: {
      type: 'string',
      value: 'CHECKS',
      description: 'Checks to skip, by name, such as port,tls-authority.',
    },
    strict: { type: 'boolean', description: 'Fail on warnings as well.' },
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
    context.output.result(renderExamination({ ...examination, findings }), {
      endpoint: `https://${remote.hostHeader}${remote.uriPath}`,
      counts,
      findings,
      timingsMs: examination.timings,
    })
    const isStrict = context.flags['strict'] === true
    if (counts.fail > 0 || (isStrict && counts.warn > 0)) {
      const what = `${String(counts.fail)} of the checks failed, ${String(counts.warn)} warn`
      throw new LatchkeyError('DOCTOR_FAILED', what)
    }
  },
}

/** Skips checks whose failure is known and accepted, such as a private authority in a trial. */
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
          detail: `not judged: ${finding.detail}`,
        }
      : finding,
  )
}
