/** Renders a report in Markdown, to be pasted into an issue. It names no token, serial number, path or key. */
// SPDX-License-Identifier: Apache-2.0
import type { CertifyReport } from './certify.ts'
import type { SpeedReport } from './speed.ts'

export function renderReport(report: CertifyReport): string {
  const { environment, library, token, iv, contract, faults, speed, leftKeys } = report
  return [
    `# ${token.manufacturer} ${token.model} ${token.firmware}: ${report.hasPassed ? 'passed' : 'FAILED'}`,
    '',
    table(
      ['', ''],
      [
        ['Latchkey', `${environment.version}, Node ${environment.node}, ${environment.platform}`],
        ['module', `${library.manufacturer}, ${library.description} ${library.version}`],
        ['Cryptoki', library.cryptoki],
        ['token', `${token.manufacturer}, ${token.model}, firmware ${token.firmware}`],
        [
          'sessions',
          token.maxSessions === undefined ? 'no limit reported' : String(token.maxSessions),
        ],
        ['mechanisms', report.mechanisms.join(', ')],
        ['iv', iv],
        ...report.modes.map(({ iv: mode, outcome }) => [`iv: ${mode}`, outcome] as const),
        ['imports keys', contract.importRefusal ?? 'yes'],
        ['keys left on the token', leftKeys === 0 ? 'none' : String(leftKeys)],
        ['date', report.date],
      ],
    ),
    '',
    `## Contract of key backends: ${share(contract.checks.map(({ faults: [fault] }) => fault === undefined))}`,
    '',
    table(
      ['check', 'result', 'ms'],
      contract.checks.map(({ check, faults: found, remarks, durationMs }) => [
        // Leaves out the requirement's id, which means nothing to the reader.
        check.replace(/^\[[A-Z]+-\d+\] /, ''),
        found.length === 0 ? ['passed', ...remarks].join('; ') : `**FAILED** ${found.join('; ')}`,
        durationMs.toFixed(0),
      ]),
    ),
    '',
    `## Faults: ${share(faults.map(({ hasPassed }) => hasPassed))}`,
    '',
    table(
      ['fault', 'result'],
      faults.map(({ fault, hasPassed, detail }) => [
        fault,
        hasPassed ? `passed: ${detail}` : `**FAILED** ${detail}`,
      ]),
    ),
    '',
    ...renderSpeed(speed),
  ].join('\n')
}

function renderSpeed({ startMs, createMs, findMs, rows }: SpeedReport): readonly string[] {
  return [
    '## Speed',
    '',
    table(
      [
        'sessions',
        'in flight',
        'round trips/s',
        'Encrypt p50',
        'p99',
        'Decrypt p50',
        'p99',
        'errors',
      ],
      rows.map((row) => [
        ...[row.sessions, row.width, Math.round(row.roundTripsPerSecond)].map(String),
        ...[row.encryptMs.p50, row.encryptMs.p99, row.decryptMs.p50, row.decryptMs.p99].map(toMs),
        Object.entries(row.errors)
          .map(([code, count]) => `${String(count)} ${code}`)
          .join(', ') || '0',
      ]),
    ),
    '',
    'A round trip is an Encrypt of 32 bytes, verified by decrypting the result, followed by a Decrypt. Times are in milliseconds;',
    `KMS gives up after 250 ms. Startup, including login and self-test: ${toMs(startMs)}; creating a key: ${toMs(createMs)}; first use of a`,
    `key: ${toMs(findMs)}.`,
  ]
}

function toMs(ms: number): string {
  return ms.toFixed(2)
}

function share(passed: readonly boolean[]): string {
  return `${String(passed.filter(Boolean).length)} of ${String(passed.length)} passed`
}

function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`
  return [line(headings), `|${'---|'.repeat(headings.length)}`, ...rows.map(line)].join('\n')
}
