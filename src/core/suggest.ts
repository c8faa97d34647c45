/** Suggestions for mistyped names ("did you mean …?"). */
// SPDX-License-Identifier: Apache-2.0

const MAX_EDITS = 3

/**
 * Returns the known name with the smallest edit distance to `name`. The distance may be at most
 * three, and at most half the length of the name.
 */
export function suggest(name: string, known: readonly string[]): string | undefined {
  const ranked = known
    .map((candidate) => ({
      candidate,
      edits: editDistance(name.toLowerCase(), candidate.toLowerCase()),
    }))
    .sort((a, b) => a.edits - b.edits)
  const [best] = ranked
  const most = Math.min(MAX_EDITS, Math.ceil(name.length / 2))
  return best !== undefined && best.edits <= most ? best.candidate : undefined
}

/** Computes the Levenshtein distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const substitution = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(substitution, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}
