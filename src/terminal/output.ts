/**
 * Output conventions. Results go to standard output, as text or, with --json, as one document.
 * Everything else goes to standard error: `latchkey: error: …` and `latchkey: hint: …`, in lower
 * case, without a full stop or a stack trace.
 */
// SPDX-License-Identifier: Apache-2.0
import { UNPRINTABLE } from '../core/remark.ts'
import { type TableOptions, foldText, toTable } from './layout.ts'
import { createProgressLine } from './progress.ts'

export interface Output {
  readonly json: boolean
  /**
   * Prints `text`, or `value` as JSON with --json. Escapes unprintable characters.
   * @param text the text, or a function that builds it if that takes long
   */
  result(text: string | (() => string), value: unknown): void
  /** Like `result`, but prints `text` byte for byte if standard output is not a terminal. */
  document(text: string, value: unknown): void
  /**
   * Prints one line of a result that arrives in parts. With --json it prints nothing, since
   * `result` prints the whole document.
   */
  line(text: string): void
  /** Whether standard output is a terminal that may show colors. */
  readonly isTerminal: boolean
  /** Formats rows as columns that fit the width of a terminal. */
  table(
    headings: readonly string[],
    rows: readonly (readonly string[])[],
    options?: Pick<TableOptions, 'right'>,
  ): string
  /**
   * Wraps lines at the terminal's width. Use it for text that people read, not for text that they
   * copy, such as a token or a document.
   */
  fold(text: string): string
  /** On a terminal, clears the screen; elsewhere, prints a blank line before the next state. */
  clear(): void
  /** Prints a note to standard error. Unlike the progress line, it is never erased. */
  note(text: string): void
  /**
   * Shows the progress of a long operation in one line on standard error, if that is a terminal.
   * The line is erased by the next output or when the command ends.
   */
  progress(text: string): void
  /** Erases the progress line. */
  endProgress(): void
  error(error: unknown, options?: { readonly withStack: boolean }): void
}

export interface Streams {
  readonly stdout: (text: string) => void
  readonly stderr: (text: string) => void
  /** Whether standard output is a terminal and NO_COLOR is unset (https://no-color.org). */
  readonly isTerminal?: boolean
  /** Width to wrap lines to; absent if lines are not wrapped. */
  readonly columns?: number
  /** Terminal width of standard error; absent if it is not a terminal. */
  readonly stderrColumns?: number
}

const toJson = (value: unknown) => `${JSON.stringify(value)}\n`

/**
 * Matches Latchkey's own color sequences, and all characters that must not reach a terminal. Tabs
 * and line feeds are allowed.
 */
const COLOR = String.raw`\u001b\[(?:0|1|2|31|32|1;31|1;32)m`
const COLOR_OR_UNPRINTABLE = new RegExp(`${COLOR}|(?![\\t\\n])${UNPRINTABLE.source}`, 'gu')

/**
 * Escapes unprintable characters as JSON does. In a JSON document, they occur only in strings, so
 * escaping them changes no value.
 */
function toPrintable(text: string, hasColors = false): string {
  return text.replace(COLOR_OR_UNPRINTABLE, (found) => {
    if (hasColors && found.length > 1 && found.startsWith('\u001b')) return found
    return Array.from({ length: found.length }, (_, i) => toEscape(found.charCodeAt(i))).join('')
  })
}

const toEscape = (unit: number) => `\\u${unit.toString(16).padStart(4, '0')}`

/**
 * @param json whether to print documents instead of text
 * @param wide whether to print tables at full width, even if the terminal is narrower
 * @param toDocument converts a value to a document (default: to JSON)
 */
export function createOutput(
  streams: Streams,
  json: boolean,
  wide = false,
  toDocument: (value: unknown) => string = toJson,
): Output {
  const columns = wide ? undefined : streams.columns
  const progress = createProgressLine(streams)
  const hasColors = streams.isTerminal === true
  const printRaw = (text: string) => {
    progress.end()
    streams.stdout(text)
  }
  const print = (text: string) => {
    printRaw(toPrintable(text, hasColors))
  }
  const remark = (text: string) => {
    progress.end()
    streams.stderr(toPrintable(text))
  }
  const withEnd = (text: string) => (text.endsWith('\n') ? text : `${text}\n`)
  return {
    json,
    result(text, value) {
      if (json) print(toDocument(value))
      else print(withEnd(typeof text === 'function' ? text() : text))
    },
    document(text, value) {
      const isTerminal = hasColors || streams.columns !== undefined
      if (json || isTerminal) print(json ? toDocument(value) : withEnd(text))
      else printRaw(withEnd(text))
    },
    line(text) {
      if (!json) print(`${text}\n`)
    },
    isTerminal: streams.isTerminal === true,
    table: (headings, rows, options) => toTable(headings, rows, { columns, ...options }),
    fold: (text) => foldText(text, columns ?? Infinity),
    clear() {
      if (!json) printRaw(hasColors ? '\u001b[2J\u001b[H' : '\n')
    },
    note(text) {
      const line = `latchkey: ${text}`
      const width = wide ? undefined : streams.stderrColumns
      remark(`${foldText(line, width ?? Infinity)}\n`)
    },
    progress: progress.show,
    endProgress: progress.end,
    error(error, { withStack } = { withStack: false }) {
      const described = describe(error, withStack)
      remark(json ? `${JSON.stringify({ error: described })}\n` : renderText(described))
    },
  }
}

interface Described {
  readonly code?: string
  readonly message: string
  readonly hint?: string
  /** The configuration file that contains the errors. */
  readonly file?: string
  readonly faults?: readonly { readonly path: string; readonly message: string }[]
  readonly stack?: string
}

function describe(error: unknown, withStack: boolean): Described {
  if (!(error instanceof Error)) return { message: String(error) }
  const { code, message, hint, file, faults, stack } = error as Partial<Described> & Error
  return {
    ...(typeof code === 'string' ? { code } : {}),
    message,
    ...(hint === undefined ? {} : { hint }),
    ...(faults === undefined ? {} : { file, faults }),
    ...describeSystemError(error),
    ...(withStack ? { stack } : {}),
  }
}

function renderText({ message, hint, file, faults, stack }: Described): string {
  const lines = faults?.map(({ path, message }) =>
    [file, path, message].filter((part) => part !== '').join(': '),
  ) ?? [message]
  return [
    ...lines.map((line) => `latchkey: error: ${line}\n`),
    ...(hint === undefined ? [] : [`latchkey: hint: ${hint}\n`]),
    ...(stack === undefined ? [] : [`${stack}\n`]),
  ].join('')
}

interface Sentence {
  readonly message: string
  readonly hint?: string
}

const FILES: ReadonlyMap<string, string> = new Map([
  ['ENOENT', 'the file does not exist'],
  ['EACCES', 'cannot be opened by this user'],
  ['EPERM', 'cannot be changed by this user'],
  ['EISDIR', 'is a folder'],
  ['ENOTDIR', 'a parent of this path is a file instead of a folder'],
  ['EROFS', 'is on a read-only file system'],
  ['ENOSPC', 'the disk is full'],
])

const ADDRESSES: ReadonlyMap<string, Sentence> = new Map([
  [
    'EADDRINUSE',
    {
      message: 'another process is listening there',
      hint: 'stop the other process, or choose another port',
    },
  ],
  ['EADDRNOTAVAIL', { message: 'is not an address of this host' }],
  [
    'EACCES',
    {
      message: 'cannot be bound by this user',
      hint: 'choose port 1024 or above: lower ports require root',
    },
  ],
])

/**
 * Describes a system error. Returns undefined for other errors, and for system errors whose own
 * message is clear enough.
 */
function describeSystemError(error: unknown): Sentence | undefined {
  if (!(error instanceof Error)) return undefined
  const { code, syscall, path, address, port } = error as NodeJS.ErrnoException & {
    readonly address?: string
    readonly port?: number
  }
  if (code === undefined || syscall === undefined) return undefined
  if (syscall === 'listen' || syscall === 'bind') {
    const known = ADDRESSES.get(code)
    return known && { ...known, message: `${toAddress(address, port)}: ${known.message}` }
  }
  const known = FILES.get(code)
  return path === undefined || known === undefined ? undefined : { message: `${path}: ${known}` }
}

function toAddress(address = '', port = 0): string {
  return `${address.includes(':') ? `[${address}]` : address}:${String(port)}`
}
