/** The contract of `KeyBackend` as a list of checks, and a way to run them without a test framework. */
// SPDX-License-Identifier: Apache-2.0
import { inspect, isDeepStrictEqual } from 'node:util'
import { systemClock as clock } from '../../core/clock.ts'
import { CIPHERTEXT_CHECKS } from './ciphertext-checks.ts'
import type { Checks, Expect, KeyBackendFixture, KeyBackendTraits, Message } from './fixture.ts'
import { KEY_CHECKS } from './key-checks.ts'

export const CHECKS: Checks = { ...CIPHERTEXT_CHECKS, ...KEY_CHECKS }

export interface CheckResult {
  readonly check: string
  readonly assertions: number
  /** Failed assertions, with the values found; empty if the check passed. */
  readonly faults: readonly string[]
  /** The check's comments, such as which part it skipped. */
  readonly remarks: readonly string[]
  readonly durationMs: number
}

/** Runs one check until it finishes or throws. Never throws itself. */
export async function runCheck(
  check: string,
  create: () => Promise<KeyBackendFixture>,
  traits: KeyBackendTraits,
): Promise<CheckResult> {
  const startedAt = clock.monotonic()
  const record = new Recorder()
  try {
    await CHECKS[check]?.(record, await create(), traits)
  } catch (error) {
    record.faults.push(describeError(error))
  }
  const { assertions, faults, remarks } = record
  return { check, assertions, faults, remarks, durationMs: clock.monotonic() - startedAt }
}

/** Records failed assertions, and continues. */
class Recorder implements Expect {
  assertions = 0
  readonly faults: string[] = []
  readonly remarks: string[] = []

  ok(found: unknown, ...[message = 'a condition']: Message): void {
    this.#assert(Boolean(found), `${message} does not hold`)
  }

  notOk(found: unknown, ...[message = 'a condition']: Message): void {
    this.#assert(!Boolean(found), `${message} holds`)
  }

  equal(found: unknown, wanted: unknown, ...[message]: Message): void {
    this.#assert(Object.is(found, wanted), toDifference(found, wanted, message))
  }

  same(found: unknown, wanted: unknown, ...[message]: Message): void {
    this.#assert(isDeepStrictEqual(found, wanted), toDifference(found, wanted, message))
  }

  match(found: unknown, pattern: object, ...[message]: Message): void {
    this.#assert(doesMatch(found, pattern), toDifference(found, pattern, message))
  }

  async rejects(promise: Promise<unknown>, pattern: object, ...[message]: Message): Promise<void> {
    const found = await promise.then(
      () => 'success',
      (error: unknown) => error,
    )
    const shown = found instanceof Error ? describeError(found) : found
    this.#assert(doesMatch(found, pattern), toDifference(shown, pattern, message))
  }

  comment(message: string): void {
    this.remarks.push(message)
  }

  #assert(holds: boolean, fault: string): void {
    this.assertions += 1
    if (!holds) this.faults.push(fault)
  }
}

function doesMatch(found: unknown, pattern: unknown): boolean {
  if (pattern instanceof RegExp) return typeof found === 'string' && pattern.test(found)
  if (typeof pattern !== 'object' || pattern === null) return Object.is(found, pattern)
  if (typeof found !== 'object' || found === null) return false
  const value = found as Readonly<Record<string, unknown>>
  return Object.entries(pattern).every(([name, part]) => doesMatch(value[name], part))
}

function toDifference(found: unknown, wanted: unknown, message?: string): string {
  const where = message === undefined ? '' : `${message}: `
  return `${where}expected ${show(wanted)}, found ${show(found)}`
}

function show(value: unknown): string {
  return typeof value === 'string'
    ? value
    : inspect(value, { depth: 3, breakLength: Infinity, maxArrayLength: 10, maxStringLength: 200 })
}

/** Returns code and message without the stack, which says nothing about the token. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return show(error)
  const { code, message } = error as Error & { readonly code?: unknown }
  return typeof code === 'string' ? `${code}: ${message}` : `${error.name}: ${message}`
}

/**
 * Returns the error's code, or its name if it has no code; returns `success` if there is no error.
 */
export function codeOf(error: unknown): string {
  if (error === undefined) return 'success'
  if (!(error instanceof Error)) return show(error)
  const { code } = error as Error & { readonly code?: unknown }
  return typeof code === 'string' ? code : error.name
}
