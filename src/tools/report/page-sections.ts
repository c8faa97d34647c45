/** The parts of the page that need no script: figures, bars and tables. */
// SPDX-License-Identifier: Apache-2.0
import { KMS_TIMEOUT_MS } from '../doctor/timing.ts'
import {
  type ReportData,
  type Rung,
  type RungName,
  type StageAccount,
  findRung,
} from './findings.ts'

/** KMS's default quota for a custom key store, in requests per second. */
export const KMS_QUOTA = 1800

export const RUNG_TITLES: Readonly<Record<RungName, string>> = {
  'in-process': 'In-process AES-GCM',
  backend: 'Key backend alone',
  kept: 'Proxy, persistent connection',
  new: 'Proxy, new connection',
}

const percentOfBudget = (ms: number) => `${((ms / KMS_TIMEOUT_MS) * 100).toFixed(1)} %`

export function leadOf(data: ReportData): string {
  const kept = findRung(data, 'kept')?.encrypt.summary
  const own = findRung(data, 'in-process')?.encrypt.summary
  if (kept === undefined || own === undefined) return ''
  return (
    `Behind this proxy, an Encrypt takes ${formatMs(kept.p50)} while the same work in process takes ` +
    `${formatMs(own.p50)}. The p99 is ${formatMs(kept.p99)}, which is ` +
    `${percentOfBudget(kept.p99)} of the 250 ms that KMS waits. The network between KMS and the proxy adds to that.`
  )
}

export function cardsOf(data: ReportData): string {
  const kept = findRung(data, 'kept')?.encrypt.summary
  const own = findRung(data, 'in-process')?.encrypt.summary
  const added = (kept?.p50 ?? 0) - (own?.p50 ?? 0)
  const p99 = kept?.p99 ?? 0
  const rate = data.highestRate
  const limited = {
    proxy: '',
    client: ', the highest rate that this client can send',
    maximum: ', the highest rate tried',
  }
  const card = (value: string, what: string, className = '') =>
    `<div class="card"><b class="${className}">${value}</b><span class="soft">${what}</span></div>`
  return [
    card(`+${formatMs(added)}`, 'added to an Encrypt (median)'),
    card(
      formatMs(p99),
      'Encrypt at p99, persistent connection',
      p99 < KMS_TIMEOUT_MS ? 'good' : 'bad',
    ),
    card(
      percentOfBudget(p99),
      'of the 250 ms budget used at p99',
      p99 < KMS_TIMEOUT_MS ? 'good' : 'bad',
    ),
    card(
      `${formatCount(rate)}/s`,
      `sustained with p99 under 250 ms${limited[data.limitedBy]}; KMS sends up to ${formatCount(KMS_QUOTA)}/s`,
      rate >= KMS_QUOTA ? 'good' : 'bad',
    ),
  ].join('')
}

/**
 * Returns a bar's width in percent on a logarithmic scale, from one microsecond to KMS's timeout.
 */
function logPercent(ms: number): number {
  const [low, high] = [Math.log10(0.001), Math.log10(KMS_TIMEOUT_MS)]
  return (100 * (Math.log10(Math.max(0.0011, ms)) - low)) / (high - low)
}

export function ladderOf(data: ReportData): string {
  const bars = data.rungs.map(({ name, encrypt: { summary } }) =>
    [
      `<div class="name">${RUNG_TITLES[name]}</div>`,
      `<div class="track">${bar(`${name} tail`, logPercent(summary.p99))}${bar(name, logPercent(summary.p50))}</div>`,
      `<div class="value">${formatMs(summary.p50)}</div>`,
    ].join(''),
  )
  return `<div class="bars">${bars.join('')}</div>
<p class="soft small">Encrypt: the dark bar is the median, the pale bar is p99. Logarithmic scale from 1 µs to 250 ms.</p>
${table(['', 'p50', 'p90', 'p99', 'p99.9', 'slowest', 'calls'], data.rungs.flatMap(rowsOf))}`
}

function rowsOf({ name, encrypt, decrypt }: Rung): readonly (readonly string[])[] {
  return [
    { operation: 'Encrypt', summary: encrypt.summary },
    { operation: 'Decrypt', summary: decrypt.summary },
  ].map(({ operation, summary }) => [
    `${RUNG_TITLES[name]}, ${operation}`,
    ...[summary.p50, summary.p90, summary.p99, summary.p999, summary.max].map(formatMs),
    formatCount(summary.count),
  ])
}

/**
 * Shows the time spent in each server stage, and the rest of the client's time, which is spent on
 * network, TLS and HTTP.
 */
export function waterfallOf(data: ReportData): string {
  if (data.stages.length === 0) {
    return '<p class="soft">Unknown. If the proxy is Latchkey, pass its request log with <code>--log</code>.</p>'
  }
  // A stage has the same color for every operation.
  const names = [...new Set(data.stages.flatMap(({ stagesMs }) => Object.keys(stagesMs))), OUTSIDE]
  return data.stages.map((account) => stackOf(account, data, names)).join('')
}

const OUTSIDE = 'outside the server'

function stackOf(account: StageAccount, data: ReportData, names: readonly string[]): string {
  const rung = findRung(data, 'kept')
  const seen = (account.operation === 'Encrypt' ? rung?.encrypt : rung?.decrypt)?.summary.p50 ?? 0
  const outside = Math.max(0, seen - account.totalMs)
  const parts = [...Object.entries(account.stagesMs), [OUTSIDE, outside] as const]
  const total = parts.reduce((sum, [, ms]) => sum + ms, 0)
  const percent = (ms: number) => (total === 0 ? 0 : (ms / total) * 100)
  const style = (stage: string) => `s${String(names.indexOf(stage) % 10)}`
  return `<h3 class="small">${account.operation}: ${formatMs(seen)} seen by the client, ${formatMs(account.totalMs)} in the server, for a typical request</h3>
<div class="stack">${parts.map(([stage, ms]) => `<i class="${style(stage)}" style="width:${percent(ms).toFixed(2)}%"></i>`).join('')}</div>
<ul class="key">${parts
    .map(
      ([stage, ms]) =>
        `<li><i class="${style(stage)}"></i>${escapeHtml(stage)} ${formatMs(ms)} <span class="soft">(${percent(ms).toFixed(0)} %)</span></li>`,
    )
    .join('')}</ul>`
}

export function ratesOf(data: ReportData): string {
  return table(
    ['due', 'answered', 'p50', 'p99', 'p99.9', 'errors', ''],
    data.rates.map((point) => [
      `${formatCount(point.rate)}/s`,
      `${formatCount(point.achieved)}/s`,
      formatMs(point.p50),
      formatMs(point.p99),
      formatMs(point.p999),
      formatCount(point.errors),
      point.isClientLimited ? 'limited by the client' : '',
    ]),
  )
}

export function linksOf(data: ReportData): string {
  const percent = (ms: number) => (ms / KMS_TIMEOUT_MS) * 100
  const row = (name: string, className: string, ms: number) =>
    [
      `<div class="name">${name}</div>`,
      `<div class="track">${bar(className, percent(ms))}</div>`,
      `<div class="value ${ms < KMS_TIMEOUT_MS ? '' : 'bad'}">${formatMs(ms)}</div>`,
    ].join('')
  const bars = data.links.flatMap((link) => [
    row(`${String(link.roundTripMs)} ms link, persistent`, 'kept', link.kept.p99),
    row(`${String(link.roundTripMs)} ms link, new`, 'new', link.new.p99),
  ])
  return `<div class="bars">${bars.join('')}</div>`
}

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

const formatCount = (count: number): string => Math.round(count).toLocaleString('en')

/** @param percent width of the bar, in percent of the track */
function bar(className: string, percent: number): string {
  return `<div class="fill ${className}" style="width:${Math.min(100, percent).toFixed(2)}%"></div>`
}

function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = (tag: string, row: readonly string[]) =>
    row.map((cell) => `<${tag}>${cell}</${tag}>`).join('')
  return `<div class="scroll"><table><thead><tr>${cells('th', headings)}</tr></thead><tbody>${rows
    .map((row) => `<tr>${cells('td', row)}</tr>`)
    .join('')}</tbody></table></div>`
}
