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
  /** Prints one line of a result that comes in parts. With --json it prints nothing, since `result` has everything. */
  line(text: string): void
  /** Whether standard output is a terminal, so that colours may be used. */
  readonly isTerminal: boolean
  /** Prints a remark to standard error. */
  note(text: string): void
  error(error: unknown, options?: { readonly withStack: boolean }): void
}

export interface Streams {
  readonly stdout: (text: string) => void
  readonly stderr: (text: string) => void
  /** Whether standard output is a terminal and NO_COLOR is unset (https://no-color.org). */
  readonly isTerminal?: boolean
  /** Width to wrap help to; absent: lines are as long as they are. */
  readonly columns?: number
}

export function createOutput(streams: Streams, json: boolean): Output {
  return {
    json,
    result(text, value) {
      streams.stdout(json ? `${JSON.stringify(value)}\n` : text.endsWith('\n') ? text : `${text}\n`)
    },
    line(text) {
      if (!json) streams.stdout(`${text}\n`)
    },
    isTerminal: streams.isTerminal === true,
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

/** Formats rows as columns, each as wide as its widest cell. A much wider cell shifts only its own line. */
export function toTable(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [headings, ...rows]
  const widths = headings.map((_, i) =>
    Math.min(MAX_COLUMN, Math.max(...all.map((row) => (row[i] ?? '').length))),
  )
  return all
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
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
