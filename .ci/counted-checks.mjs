// Counts the results of manually run checks. Each check prints a line, and the last line is `N passed, N failed`.
// SPDX-License-Identifier: Apache-2.0

/**
 * @returns `check` runs a check and reports whether it passed; `fail` counts a failure outside a check; `finish` prints
 * the last line and sets the exit code
 */
export function countChecks() {
  let passed = 0
  let failed = 0
  return {
    /**
     * @param {() => Promise<string | void>} work throws if the check fails; a returned text replaces `ok` in the output
     */
    async check(name, work) {
      const startedAt = performance.now()
      let outcome = 'ok'
      try {
        const remark = await work()
        passed += 1
        if (typeof remark === 'string') outcome = remark
      } catch (error) {
        failed += 1
        outcome = 'FAILED'
        process.stdout.write(`${error.message}\n`)
      }
      const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
      process.stdout.write(`${name.padEnd(64)} ${outcome} (${seconds} s)\n`)
      return outcome !== 'FAILED'
    },
    fail(error) {
      failed += 1
      process.stdout.write(`${error.stack}\n`)
    },
    finish() {
      process.stdout.write(`${passed} passed, ${failed} failed\n`)
      process.exitCode = failed === 0 ? 0 : 1
    },
  }
}
