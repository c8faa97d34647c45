// Parses a test file's TAP version 14 output into counts and a relevant excerpt.
// SPDX-License-Identifier: Apache-2.0

const RESULT = /^( *)(not )?ok \d+/
const PLAN = /^( *)1\.\.(\d+)/
/** Number of spaces by which tap indents a subtest below its result. */
const STEP = 4
const LINES_OF_A_FAILURE = 40
const LINES_SHOWN = 200
const COLUMNS_SHOWN = 400

/**
 * Counts assertions, but not the result that summarizes a subtest, which follows the subtest's plan.
 * @returns {{ passed: number, failed: number, skipped: number, isWhole: boolean }} `isWhole`: whether there are as many
 * results as planned, and at least one
 */
export function countResults(output) {
  const counts = { passed: 0, failed: 0, skipped: 0 }
  let top = 0
  let planned = 0
  let planIndent = -1
  for (const line of output.split('\n')) {
    const plan = PLAN.exec(line)
    if (plan !== null) {
      planIndent = plan[1].length
      if (planIndent === 0) planned = Number(plan[2])
    }
    const result = RESULT.exec(line)
    if (result === null) continue
    const indent = result[1].length
    if (indent === 0) top += 1
    if (/ # (skip|todo)/i.test(line)) counts.skipped += 1
    if (planIndent !== indent + STEP) {
      if (result[2] === undefined) counts.passed += 1
      else counts.failed += 1
    }
    planIndent = -1
  }
  return { ...counts, isWhole: planned > 0 && top === planned }
}

/**
 * Returns each failure with its diagnostics. If no test failed, returns the last lines of the output, which may explain
 * why the file failed.
 */
export function excerpt(output) {
  const lines = output.trimEnd().split('\n')
  const shown = new Set()
  lines.forEach((line, at) => {
    if (!/^ *not ok /.test(line)) return
    for (let i = at; i < at + LINES_OF_A_FAILURE && i < lines.length; i++) shown.add(i)
  })
  if (shown.size === 0) return lines.slice(-LINES_OF_A_FAILURE).join('\n')
  return [...shown]
    .slice(0, LINES_SHOWN)
    .map((i) => lines[i].slice(0, COLUMNS_SHOWN))
    .join('\n')
}
