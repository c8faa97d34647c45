/**
 * The rules of output. Results go to standard output, as text or, with --json, as one document.
 * Everything else goes to standard error: `latchkey: error: …` and `latchkey: hint: …`, in lower
 * case, without a full stop and without a stack.
 */
// SPDX-License-Identifier: Apache-2.0

export interface Output {
  readonly json: boolean
  /** `text` for people, `value` for scripts; one of the two is printed. */
  result(text: string, value: unknown): void
  /** A remark that is no result. */
  note(text: string): void
  error(error: unknown): void
}

export interface Streams {
  readonly stdout: (text: string) => void
  readonly stderr: (text: string) => void
}

export function createOutput(streams: Streams, json: boolean): Output {
  return {
    json,
    result(text, value) {
      streams.stdout(json ? `${JSON.stringify(value)}\n` : text.endsWith('\n') ? text : `${text}\n`)
    },
    note(text) {
      streams.stderr(`latchkey: ${text}\n`)
    },
    error(error) {
      streams.stderr(json ? renderJson(error) : renderText(error))
    },
  }
}

interface Described {
  readonly message: string
  readonly hint?: unknown
  readonly faults?: readonly { readonly path: string; readonly message: string }[]
  readonly code?: unknown
}

function describe(error: unknown): Described {
  if (!(error instanceof Error)) return { message: String(error) }
  return error
}

function renderJson(error: unknown): string {
  const { message, hint, faults, code } = describe(error)
  return `${JSON.stringify({ error: { code, message, hint, faults } })}\n`
}

function renderText(error: unknown): string {
  const { message, hint, faults } = describe(error)
  const lines =
    faults === undefined
      ? [`latchkey: error: ${message}`]
      : faults.map((f) => `latchkey: error: ${f.path === '' ? '' : `${f.path}: `}${f.message}`)
  if (typeof hint === 'string') lines.push(`latchkey: hint: ${hint}`)
  return `${lines.join('\n')}\n`
}

/** Columns under headings, as wide as their widest cell. */
export function toTable(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [headings, ...rows]
  const widths = headings.map((_, i) => Math.max(...all.map((row) => (row[i] ?? '').length)))
  return all
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
