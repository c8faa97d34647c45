/**
 * The rules of output. Results go to standard output, as text or, with --json, as one document.
 * Everything else goes to standard error: `latchkey: error: …` and `latchkey: hint: …`, in lower
 * case, without a full stop and without a stack.
 */
// SPDX-License-Identifier: Apache-2.0

export interface Output {
  readonly json: boolean
  /** Prints `text`, or `value` as JSON with --json. */
  result(text: string, value: unknown): void
  /**
   * Prints one line of a result that comes in parts. With --json it prints nothing, since `result`
   * prints everything.
   */
  line(text: string): void
  /** Whether standard output is a terminal, so that colours may be used. */
  readonly isTerminal: boolean
  /** Formats rows as columns. On a terminal, cells are shortened in the middle until a row fits its width. */
  table(headings: readonly string[], rows: readonly (readonly string[])[]): string
  /** On a terminal, replaces the previous state; elsewhere, separates one state from the next. */
  clear(): void
  /** Prints a remark to standard error. */
  note(text: string): void
  error(error: unknown, options?: { readonly withStack: boolean }): void
}

export interface Streams {
  readonly stdout: (text: string) => void
  readonly stderr: (text: string) => void
  /** Whether standard output is a terminal and NO_COLOR is unset (https://no-color.org). */
  readonly isTerminal?: boolean
  /** Width to wrap help to; absent if lines are not wrapped. */
  readonly columns?: number
}

const toJson = (value: unknown) => `${JSON.stringify(value)}\n`

/**
 * @param json print documents instead of text
 * @param wide do not shorten tables to the terminal's width
 * @param toDocument writes a document in a format other than JSON
 */
export function createOutput(
  streams: Streams,
  json: boolean,
  wide = false,
  toDocument: (value: unknown) => string = toJson,
): Output {
  return {
    json,
    result(text, value) {
      streams.stdout(json ? toDocument(value) : text.endsWith('\n') ? text : `${text}\n`)
    },
    line(text) {
      if (!json) streams.stdout(`${text}\n`)
    },
    isTerminal: streams.isTerminal === true,
    table: (headings, rows) => toTable(headings, rows, wide ? undefined : streams.columns),
    clear() {
      if (!json) streams.stdout(streams.isTerminal === true ? '\u001b[2J\u001b[H' : '\n')
    },
    note(text) {
      streams.stderr(`latchkey: ${text}\n`)
    },
    error(error, { withStack } = { withStack: false }) {
      const described = describe(error, withStack)
      streams.stderr(json ? `${JSON.stringify({ error: described })}\n` : renderText(described))
    },
  }
}

interface Described {
  readonly code?: string
  readonly message: string
  readonly hint?: string
  /** The configuration file that has the faults. */
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

/** Largest width of a cell, since an ARN can have 2,048 characters. */
const MAX_COLUMN = 120

const GAP = '  '
/** Minimum width of a column; narrower cells could not be told apart. */
const MIN_COLUMN = 8

/**
 * Formats rows as columns, each as wide as its widest cell. Without `columns`, a much wider cell shifts only its own line.
 * @param columns width to fit into: the widest cells are shortened in the middle, where ARNs differ least
 */
export function toTable(
  headings: readonly string[],
  rows: readonly (readonly string[])[],
  columns?: number,
): string {
  const all = [headings, ...rows]
  const longest = headings.map((_, i) => Math.max(...all.map((row) => (row[i] ?? '').length)))
  const widths =
    columns === undefined
      ? longest.map((width) => Math.min(MAX_COLUMN, width))
      : fitWidths(longest, headings, columns)
  return all
    .map((row) =>
      row
        .map((cell, i) => {
          const width = widths[i] ?? 0
          return (columns === undefined ? cell : shorten(cell, width)).padEnd(width)
        })
        .join(GAP)
        .trimEnd(),
    )
    .join('\n')
}

/** Repeatedly shortens the widest column. A column keeps room for its heading. */
function fitWidths(
  longest: readonly number[],
  headings: readonly string[],
  columns: number,
): readonly number[] {
  const widths = [...longest]
  const least = headings.map((heading) => Math.max(MIN_COLUMN, heading.length))
  let excess =
    widths.reduce((sum, width) => sum + width, GAP.length * (widths.length - 1)) - columns
  while (excess > 0) {
    const room = widths.map((width, i) => (width > (least[i] ?? 0) ? width : 0))
    const widest = room.indexOf(Math.max(...room))
    if (room[widest] === 0) break
    widths[widest] = (widths[widest] ?? 0) - 1
    excess -= 1
  }
  return widths
}

/** Keeps the beginning and the end of a text. */
export function shorten(text: string, width: number): string {
  if (text.length <= width) return text
  const end = Math.ceil((width - 1) / 2)
  return `${text.slice(0, width - 1 - end)}\u2026${text.slice(text.length - end)}`
}

interface Sentence {
  readonly message: string
  readonly hint?: string
}

const FILES: ReadonlyMap<string, string> = new Map([
  ['ENOENT', 'there is no such file'],
  ['EACCES', 'cannot be opened by this user'],
  ['EPERM', 'cannot be changed by this user'],
  ['EISDIR', 'is a folder'],
  ['ENOTDIR', 'is below a file instead of a folder'],
  ['EROFS', 'is on a read-only file system'],
  ['ENOSPC', 'the disk is full'],
])

const ADDRESSES: ReadonlyMap<string, Sentence> = new Map([
  [
    'EADDRINUSE',
    {
      message: 'another process is listening there',
      hint: 'end it, or choose another port',
    },
  ],
  ['EADDRNOTAVAIL', { message: 'is not an address of this host' }],
  ['EACCES', { message: 'cannot be bound by this user', hint: 'ports below 1024 require root' }],
])

/** Describes a system error; returns undefined for other errors and for system errors without a better sentence. */
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
