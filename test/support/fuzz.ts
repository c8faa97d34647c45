/**
 * Sets the number of fuzzing inputs: enough for a few seconds in `npm run check`, or FUZZ_RUNS in a manual run such as
 * `FUZZ_RUNS=1000000 node FILE`.
 */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'

const given = Number(process.env['FUZZ_RUNS'])

/** @param usual the number of inputs in `npm run check` */
export function runs(usual: number): { readonly numRuns: number } {
  return { numRuns: Number.isInteger(given) && given > 0 ? given : usual }
}

/** Generates variants of `text` with a few random edits, such as replaced, dropped, duplicated or moved characters. */
export function damaged(text: string): fc.Arbitrary<string> {
  const place = fc.nat(Math.max(0, text.length - 1))
  const edit = fc.record({
    at: place,
    to: place,
    kind: fc.constantFrom('replace', 'drop', 'insert', 'double', 'cut', 'move'),
    unit: fc.oneof(
      fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)),
      fc.constantFrom(
        '\0',
        '\t',
        '\r\n',
        '"',
        '\\',
        '{',
        '}',
        '\u00e9',
        '\u2028',
        '\ud800',
        '=',
        '%',
      ),
    ),
  })
  return fc.array(edit, { minLength: 1, maxLength: 4 }).map((edits) => {
    let result = text
    for (const { at, to, kind, unit } of edits) {
      const [before, after] = [result.slice(0, at), result.slice(at)]
      if (kind === 'replace') result = `${before}${unit}${after.slice(1)}`
      else if (kind === 'drop') result = `${before}${after.slice(1)}`
      else if (kind === 'insert') result = `${before}${unit}${after}`
      else if (kind === 'double') result = `${before}${after}${after}`
      else if (kind === 'cut') result = before
      else result = `${result.slice(0, Math.min(at, to))}${result.slice(Math.max(at, to))}`
    }
    return result
  })
}
