/** The result of one check by doctor. */
// SPDX-License-Identifier: Apache-2.0

export const VERDICTS = ['ok', 'warn', 'fail', 'skip'] as const
export type Verdict = (typeof VERDICTS)[number]

export const AREAS = ['address', 'tls', 'http', 'api', 'limits', 'errors', 'sigv4', 'time'] as const
export type Area = (typeof AREAS)[number]

export interface Finding {
  readonly area: Area
  /** Stable name for scripts, such as `tls-authority`. */
  readonly check: string
  readonly verdict: Verdict
  readonly detail: string
  /** Remedy; set if the result is warn or fail. */
  readonly hint?: string
}

/** Creates findings for one area. */
export interface Reporter {
  ok(check: string, detail: string): Finding
  warn(check: string, detail: string, hint: string): Finding
  fail(check: string, detail: string, hint: string): Finding
  skip(check: string, detail: string): Finding
  /** Returns `ok` when `faults` is empty; otherwise, returns `fail` with all of them. */
  judge(check: string, good: string, faults: readonly string[], hint: string): Finding
}

export function createReporter(area: Area): Reporter {
  const reporter: Reporter = {
    ok: (check, detail) => ({ area, check, verdict: 'ok', detail }),
    warn: (check, detail, hint) => ({ area, check, verdict: 'warn', detail, hint }),
    fail: (check, detail, hint) => ({ area, check, verdict: 'fail', detail, hint }),
    skip: (check, detail) => ({ area, check, verdict: 'skip', detail }),
    judge: (check, good, faults, hint) =>
      faults.length === 0
        ? reporter.ok(check, good)
        : reporter.fail(check, faults.join('; '), hint),
  }
  return reporter
}

/**
 * Makes text from the proxy safe for a terminal: keeps only printable characters, and limits the
 * length.
 */
export function quoted(text: string, length = 120): string {
  const printable = text.replace(/[^\x20-\x7e]/g, '?')
  return `"${printable.length > length ? `${printable.slice(0, length)}...` : printable}"`
}
