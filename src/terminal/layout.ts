/** Lays out text for a terminal: fits tables to its width, and breaks long lines. */
// SPDX-License-Identifier: Apache-2.0
import { UNPRINTABLE } from '../core/remark.ts'

/** Maximum width of a column. A cell can be much wider: an ARN can have 2,048 characters. */
const MAX_COLUMN = 120
const GAP = '  '
/** Minimum column width; narrower cells would be indistinguishable. */
const MIN_COLUMN = 8

type Row = readonly string[]

export interface TableOptions {
  /** Width to fit into (default: each column is as wide as its widest cell). */
  readonly columns?: number | undefined
  /** Indexes of the right-aligned columns, which contain numbers. */
  readonly right?: readonly number[]
}

/**
 * Formats rows as columns. Without `columns`, an exceptionally wide cell shifts only its own line.
 * Otherwise, if the rows are too wide, times are shown to the minute and the widest cells are
 * shortened in the middle, where ARNs differ least. If even that does not fit, each row becomes an
 * unabridged block with one line per heading.
 */
export function toTable(
  headings: Row,
  rows: readonly Row[],
  { columns, right = [] }: TableOptions = {},
): string {
  const clean = rows.map((row) => row.map(withoutControls))
  const longest = widthsOf([headings, ...clean])
  if (columns === undefined || totalOf(longest) <= columns) {
    return toLines([headings, ...clean], { widths: longest, right })
  }
  const short = clean.map((row) => row.map(toMinute))
  const widths = fitWidths(widthsOf([headings, ...short]), leastOf(headings, short), columns)
  if (totalOf(widths) > columns && headings.length > 1) return toBlocks(headings, clean, columns)
  const fitted = [headings, ...short].map((row) =>
    row.map((cell, i) => shorten(cell, widths[i] ?? 0)),
  )
  return toLines(fitted, { widths, right })
}

function widthsOf(rows: readonly Row[]): readonly number[] {
  // Spreading about a hundred thousand arguments into Math.max would fail.
  const widest = (i: number) => rows.reduce((most, row) => Math.max(most, (row[i] ?? '').length), 0)
  return (rows[0] ?? []).map((_, i) => widest(i))
}

function totalOf(widths: readonly number[]): number {
  return widths.reduce((sum, width) => sum + width, GAP.length * (widths.length - 1))
}

function toLines(
  rows: readonly Row[],
  { widths, right }: { readonly widths: readonly number[]; readonly right: readonly number[] },
): string {
  const toLine = (row: Row) =>
    row
      .map((cell, i) => {
        const width = Math.min(MAX_COLUMN, widths[i] ?? 0)
        return right.includes(i) ? cell.padStart(width) : cell.padEnd(width)
      })
      .join(GAP)
      .trimEnd()
  return rows.map(toLine).join('\n')
}

/**
 * Returns the minimum width of each column. A column is never narrower than its heading, and a time
 * is never shortened.
 */
function leastOf(headings: Row, rows: readonly Row[]): readonly number[] {
  return headings.map((heading, i) => {
    const times = rows.filter((row) => SHORT_TIME.test(row[i] ?? ''))
    return Math.max(MIN_COLUMN, heading.length, ...widthsOf(times.map((row) => [row[i] ?? ''])))
  })
}

/**
 * Repeatedly narrows the widest column that still exceeds its minimum width, until the table fits
 * or no such column is left.
 */
function fitWidths(
  longest: readonly number[],
  least: readonly number[],
  columns: number,
): readonly number[] {
  const widths = [...longest]
  let excess = totalOf(widths) - columns
  while (excess > 0) {
    const room = widths.map((width, i) => (width > (least[i] ?? 0) ? width : 0))
    const widest = room.indexOf(Math.max(...room))
    if (room[widest] === 0) break
    widths[widest] = (widths[widest] ?? 0) - 1
    excess -= 1
  }
  return widths
}

function toBlocks(headings: Row, rows: readonly Row[], columns: number): string {
  const label = Math.max(...headings.map((heading) => heading.length))
  const toBlock = (row: Row) =>
    headings
      .map((heading, i) => foldText(`${heading.padEnd(label)}${GAP}${row[i] ?? ''}`, columns))
      .join('\n')
  return rows.map(toBlock).join('\n\n')
}

const TIME = /^(\d{4}-\d\d-\d\dT\d\d:\d\d):\d\d(?:\.\d+)?Z$/
const SHORT_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\dZ$/

function toMinute(cell: string): string {
  const minute = TIME.exec(cell)?.[1]
  return minute === undefined ? cell : `${minute}Z`
}

/** Replaces control and format characters, so that untrusted text cannot control the terminal. */
function withoutControls(text: string): string {
  return text.replace(UNPRINTABLE, '\uFFFD')
}

/** Shortens a string by replacing its middle with an ellipsis. */
function shorten(text: string, width: number): string {
  if (text.length <= width) return text
  const end = Math.ceil((width - 1) / 2)
  return `${text.slice(0, width - 1 - end)}\u2026${text.slice(text.length - end)}`
}

/**
 * Wraps each line of `text` to fit, and indents the continuation lines. Always replaces unprintable
 * characters.
 * @param columns width to wrap to; Infinity disables wrapping
 */
export function foldText(text: string, columns: number): string {
  return text
    .split('\n')
    .flatMap((line) => foldLine(withoutControls(line), columns))
    .join('\n')
}

function foldLine(line: string, columns: number): readonly string[] {
  if (line.length <= columns) return [line]
  const indent = ' '.repeat(indentOf(line, columns))
  const lines: string[] = []
  let rest = line
  let least = indentOf(line, columns)
  while (rest.length > columns) {
    const end = breakOf(rest, least, columns)
    lines.push(rest.slice(0, end).trimEnd())
    rest = `${indent}${rest.slice(end).trimStart()}`
    least = indent.length
  }
  return [...lines, rest]
}

/**
 * Returns the indent of continuation lines. It aligns them with the text that follows a label and
 * two spaces; without a label, it is two more than the line's own indent. An indent of more than
 * half the width is reduced to two.
 */
function indentOf(line: string, columns: number): number {
  const label = /^\s*\S.{0,24}?\s{2,}(?=\S)/.exec(line)?.[0].length
  const indent = label ?? line.length - line.trimStart().length + GAP.length
  return indent <= columns / 2 ? indent : GAP.length
}

/**
 * Returns the position to break at: the last space that fits, otherwise after the last comma,
 * otherwise within a word.
 */
function breakOf(line: string, least: number, columns: number): number {
  const space = line.lastIndexOf(' ', columns)
  if (space > least) return space
  const comma = line.lastIndexOf(',', columns - 1)
  return comma > least ? comma + 1 : columns
}
