/** Builds HTML: every value is escaped unless this module made it. */
// SPDX-License-Identifier: Apache-2.0

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (one) => `&#${String(one.charCodeAt(0))};`)
}

/** Encodes JSON so that it cannot close a script element. */
export function toScriptJson(value: unknown): string {
  return JSON.stringify(value).replaceAll('<', '\\u003c')
}

/** Formats milliseconds with a sensible number of digits. */
export function formatMs(ms: number): string {
  if (ms >= 100) return `${ms.toFixed(0)} ms`
  if (ms >= 10) return `${ms.toFixed(1)} ms`
  return `${ms >= 0.1 ? ms.toFixed(2) : ms.toFixed(3)} ms`
}

export const formatCount = (count: number): string => Math.round(count).toLocaleString('en')

/** @param width in percent of the track */
export function bar(className: string, percent: number): string {
  return `<div class="fill ${className}" style="width:${Math.min(100, percent).toFixed(2)}%"></div>`
}

export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = (tag: string, row: readonly string[]) =>
    row.map((cell) => `<${tag}>${cell}</${tag}>`).join('')
  return `<div class="scroll"><table><thead><tr>${cells('th', headings)}</tr></thead><tbody>${rows
    .map((row) => `<tr>${cells('td', row)}</tr>`)
    .join('')}</tbody></table></div>`
}
