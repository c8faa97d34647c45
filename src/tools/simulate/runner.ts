/** Runs the steps of a scenario, prints the outcome of each, and counts them at the end. */
// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '../../core/clock.ts'
import { LatchkeyError } from '../../core/errors.ts'
import type { CallReport } from '../../kms/emulator/proxy-connection.ts'
import type { Output } from '../../terminal/output.ts'

export interface StepReport {
  readonly part: string
  readonly step: string
  readonly ok: boolean
  /** Outcome for display. */
  readonly detail: string
  readonly ms: number
}

export interface ScenarioRunner {
  part(title: string, intro?: string): void
  /**
   * Runs a step and prints its outcome. A step fails when `work` throws; the scenario then
   * continues.
   * @returns the value of `work`, for later steps
   */
  step<T>(name: string, work: () => Promise<StepResult<T>>): Promise<T | undefined>
  /** Runs a step that all later steps need. @throws ScenarioEnded when it fails */
  must<T>(name: string, work: () => Promise<StepResult<T>>): Promise<T>
  /** Stops all output, even of steps that are still running. */
  end(): void
  readonly steps: readonly StepReport[]
}

export interface StepResult<T> {
  readonly detail: string
  readonly value: T
}

/** Thrown when the scenario cannot continue. */
export class ScenarioEnded extends Error {
  override readonly name = 'StoryEnded'
}

/** Thrown when a step has an unexpected outcome. */
export class NotAsExpected extends Error {
  override readonly name = 'NotAsExpected'
}

export const seen = (detail: string): StepResult<undefined> => ({ detail, value: undefined })

const NAME_WIDTH = 27
const DETAIL_WIDTH = 62

export function createScenarioRunner(output: Output): ScenarioRunner {
  const paint = createPaint(output.isTerminal)
  const steps: StepReport[] = []
  let part = ''
  let hasEnded = false

  async function tell<T>(name: string, work: () => Promise<StepResult<T>>) {
    const startedAt = systemClock.monotonic()
    let outcome: { readonly ok: boolean; readonly detail: string; readonly value?: T }
    try {
      outcome = { ok: true, ...(await work()) }
    } catch (error) {
      outcome = { ok: false, detail: describe(error) }
    }
    const ms = systemClock.monotonic() - startedAt
    const { ok, detail } = outcome
    if (hasEnded) throw new ScenarioEnded('the scenario has ended')
    steps.push({ part, step: name, ok, detail, ms: Math.round(ms * 10) / 10 })
    const mark = ok ? paint('32', '✓') : paint('31', '✗')
    const time = paint('2', `${ms.toFixed(0).padStart(6)} ms`)
    const text = ok ? detail.padEnd(DETAIL_WIDTH) : paint('31', detail.padEnd(DETAIL_WIDTH))
    output.line(`  ${mark} ${name.padEnd(NAME_WIDTH)} ${text} ${time}`)
    return outcome
  }

  return {
    steps,
    end() {
      hasEnded = true
    },
    part(title, intro) {
      part = title
      output.line('')
      output.line(paint('1', title))
      if (intro !== undefined) output.line(paint('2', `  ${intro}`))
    },
    step: async (name, work) => (await tell(name, work)).value,
    async must(name, work) {
      const { ok, value } = await tell(name, work)
      if (!ok) throw new ScenarioEnded(`${name} failed`)
      // `work` has returned, so the value is set.
      return value as Awaited<ReturnType<typeof work>>['value']
    },
  }
}

/**
 * Describes an error: the KMS exception's name and message, and the proxy's own error if there is
 * one.
 */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { code, message, cause } = error as Error & { readonly code?: string }
  const from = isOurs(cause) ? ` (${cause.code}: ${cause.message})` : ''
  return code === undefined ? message : `${code}: ${message}${from}`
}

function isOurs(error: unknown): error is LatchkeyError {
  return error instanceof LatchkeyError
}

type Paint = (code: string, text: string) => string

export function createPaint(isTerminal: boolean): Paint {
  return (code, text) => (isTerminal ? `\u001b[${code}m${text}\u001b[0m` : text)
}

type SimulationErrorCode =
  | 'SIMULATION_FAILED' // a simulation step had an unexpected result
  | 'RESTORE_WAITS' // restoring requires a waiting period or a second person's approval

export class SimulationError extends LatchkeyError<SimulationErrorCode> {
  override readonly name = 'SimulationError'
}

interface Times {
  readonly operation: string
  readonly count: number
  /** Median in milliseconds. Like `max`, it covers successful calls only. */
  readonly median: number
  readonly max: number
  /** Number of calls that were retried after a network timeout. */
  readonly repeated: number
}

const OPERATIONS = [
  ['GetHealthStatus', /\/health$/],
  ['GetKeyMetadata', /\/metadata$/],
  ['Encrypt', /\/encrypt$/],
  ['Decrypt', /\/decrypt$/],
] as const

export function summarize(reports: readonly CallReport[]): readonly Times[] {
  return OPERATIONS.flatMap(([operation, pattern]) => {
    const own = reports.filter(({ path }) => pattern.test(path))
    const ms = own
      .filter(({ failure }) => failure === undefined)
      .map(({ totalMs }) => totalMs)
      .sort((a, b) => a - b)
    const median = ms[Math.floor(ms.length / 2)]
    if (median === undefined) return []
    const repeated = own.filter(({ attempts }) => attempts > 1).length
    return [{ operation, count: ms.length, median, max: ms.at(-1) ?? median, repeated }]
  })
}

export function describeTimes(times: readonly Times[], timeoutMs: number): readonly string[] {
  return [
    `Response times of the proxy (KMS waits ${String(timeoutMs)} ms):`,
    ...times.map(
      ({ operation, count, median, max, repeated }) =>
        `  ${operation.padEnd(16)} ${String(count).padStart(3)} calls, median ${median.toFixed(1).padStart(6)} ms, slowest ${max.toFixed(1).padStart(6)} ms${repeated === 0 ? '' : `, ${String(repeated)} repeated`}`,
    ),
    '',
  ]
}
