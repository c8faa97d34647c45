/** Computes and prints the medians of the rounds, and the ratios to the bare server. */
// SPDX-License-Identifier: Apache-2.0
import { baselineOf, nameOf, type Case } from './matrix.ts'

export interface Round {
  /** Responses per second. */
  readonly rate: number
  /** Responses per second of the server's processor time; NaN if unknown. */
  readonly perCpuSecond: number
}

export interface Row {
  readonly name: string
  readonly perSecond: number
  /**
   * Ratio to the bare server's rate over the same connection, computed per round; absent if the bare server's case was
   * not run.
   */
  readonly ratioToBare?: number
  readonly perCpuSecond?: number
  readonly cpuRatioToBare?: number
  /**
   * Fraction of a core that the server used. If it is below 1, the client or another process on its core was the
   * bottleneck.
   */
  readonly busy?: number
  readonly rounds: readonly number[]
}

export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const upper = sorted[middle] ?? NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2
}

export function toRows(
  cases: readonly Case[],
  rounds: ReadonlyMap<string, readonly Round[]>,
): readonly Row[] {
  const column = (name: string, field: keyof Round) =>
    (rounds.get(name) ?? []).map((round) => round[field])
  return cases.map((one) => {
    const name = nameOf(one)
    const [rates, perCpu] = [column(name, 'rate'), column(name, 'perCpuSecond')]
    const bare = baselineOf(one)
    return {
      name,
      perSecond: Math.round(median(rates)),
      ...ifKnown('ratioToBare', ratio(rates, column(bare, 'rate'))),
      ...ifKnown('perCpuSecond', Math.round(median(perCpu))),
      ...ifKnown('cpuRatioToBare', ratio(perCpu, column(bare, 'perCpuSecond'))),
      ...ifKnown(
        'busy',
        Number(median(rates.map((rate, i) => rate / (perCpu[i] ?? NaN))).toFixed(2)),
      ),
      rounds: rates.map(Math.round),
    }
  })
}

function ifKnown(field: string, value: number): Record<string, number> {
  return Number.isNaN(value) ? {} : { [field]: value }
}

/** Compares the rates round by round, so that a slowdown of the machine affects both servers. */
function ratio(list: readonly number[], bare: readonly number[]): number {
  return Number(median(list.map((value, i) => value / (bare[i] ?? NaN))).toFixed(3))
}

export function renderRows(rows: readonly Row[]): string {
  const width = Math.max(...rows.map(({ name }) => name.length))
  const fixed = (value: number | undefined) => (value === undefined ? '    -' : value.toFixed(3))
  return rows
    .map((row) =>
      [
        row.name.padEnd(width),
        `${String(row.perSecond).padStart(6)}/s, to bare ${fixed(row.ratioToBare)}`,
        `${String(row.perCpuSecond ?? '-').padStart(6)} per CPU second, to bare ${fixed(row.cpuRatioToBare)}`,
        `busy ${row.busy?.toFixed(2) ?? '-'}`,
        `rounds ${row.rounds.join(' ')}`,
      ].join('  '),
    )
    .join('\n')
}
