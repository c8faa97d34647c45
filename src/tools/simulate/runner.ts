/** A story of steps, each with what should happen: told as it goes, and counted at the end. */
// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '../../core/clock.ts'
import { LatchkeyError } from '../../core/errors.ts'
import type { Output } from '../../terminal/output.ts'

export interface StepReport {
  readonly part: string
  readonly step: string
  readonly ok: boolean
  /** What was seen. */
  readonly detail: string
  readonly ms: number
}

export interface ScenarioRunner {
  part(title: string, intro?: string): void
  /**
   * Tells what `work` saw. When it throws, the step has failed, and the story goes on.
   * @returns what `work` is worth to later steps
   */
  step<T>(name: string, work: () => Promise<StepResult<T>>): Promise<T | undefined>
  /** Like `step`, for what all later steps need. @throws StoryEnded */
  must<T>(name: string, work: () => Promise<StepResult<T>>): Promise<T>
  /** Nothing is told any more, whatever still goes on. */
  end(): void
  readonly steps: readonly StepReport[]
}

export interface StepResult<T> {
  readonly detail: string
  readonly value: T
}

/** The rest of the story makes no sense. */
export class ScenarioEnded extends Error {
  override readonly name = 'StoryEnded'
}

/** For what was seen and should not be. */
export class NotAsExpected extends Error {
  override readonly name = 'NotAsExpected'
}

export const seen = (detail: string): StepResult<undefined> => ({ detail, value: undefined })

const NAME_WIDTH = 27
const DETAIL_WIDTH = 60

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
    if (hasEnded) throw new ScenarioEnded('the story has ended')
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
      // It is there: `work` returned it.
      return value as Awaited<ReturnType<typeof work>>['value']
    },
  }
}

/** The name of an exception of KMS, and its sentence; with what the proxy itself said, if it did. */
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
  | 'SIMULATION_FAILED' // a step of the story did not go as it should
  | 'RESTORE_WAITS' // what was killed is restored only after a delay or by a second person

export class SimulationError extends LatchkeyError<SimulationErrorCode> {
  override readonly name = 'SimulationError'
}
