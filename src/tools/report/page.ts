/** Renders the report as one self-contained HTML page that loads no other resources. */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { KMS_TIMEOUT_MS } from '../doctor/timing.ts'
import type { ReportData } from './findings.ts'
import { drawCharts } from './page-script.ts'
import {
  KMS_QUOTA,
  RUNG_TITLES,
  cardsOf,
  escapeHtml,
  formatMs,
  ladderOf,
  leadOf,
  linksOf,
  ratesOf,
  toScriptJson,
  waterfallOf,
} from './page-sections.ts'

const require = createRequire(import.meta.url)

export async function renderPage(data: ReportData): Promise<string> {
  const [library, libraryStyle] = await Promise.all([
    readFile(require.resolve('uplot/dist/uPlot.iife.min.js'), 'utf8'),
    readFile(require.resolve('uplot/dist/uPlot.min.css'), 'utf8'),
  ])
  const script = `(${drawCharts.toString()})(window)`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policyFor([library, script])}">
<title>Latency that an external key adds: ${escapeHtml(data.subject.proxy)}</title>
<style>${libraryStyle}${PAGE_STYLE}</style>
</head>
<body>
<main>
${bodyOf(data)}
</main>
<script type="application/json" id="chart-data">${toScriptJson(chartData(data))}</script>
<script type="application/json" id="report-data">${toScriptJson(data)}</script>
<script>${library}</script>
<script>${script}</script>
</body>
</html>
`
}

/**
 * Returns a Content Security Policy that permits only these scripts, and nothing from another
 * origin.
 */
function policyFor(scripts: readonly string[]): string {
  const hashes = scripts.map(
    (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`,
  )
  return `default-src 'none'; style-src 'unsafe-inline'; script-src ${hashes.join(' ')}`
}

function chartData(data: ReportData) {
  return {
    curves: data.rungs.map(({ name, encrypt }) => ({
      name: RUNG_TITLES[name],
      color: name,
      points: encrypt.curve,
    })),
    rates: data.rates.map(({ rate, p50, p99 }) => ({ rate, p50, p99 })),
    limitMs: KMS_TIMEOUT_MS,
    quota: KMS_QUOTA,
  }
}

function bodyOf(data: ReportData): string {
  const { subject, client, connectMs } = data
  return `<header>
<h1>Latency that an external key adds</h1>
<p class="soft">${escapeHtml(subject.proxy)} at ${escapeHtml(subject.endpoint)}, key manager ${escapeHtml(subject.keyManager)}; measured ${escapeHtml(data.madeAt.slice(0, 16).replace('T', ' '))} UTC</p>
<p class="lead">${leadOf(data)}</p>
</header>
<div class="cards">${cardsOf(data)}</div>
<section>
<h2>The same work, four ways</h2>
<p class="soft">An Encrypt wraps a 32-byte data key with AAD, computes its integrity value, and decrypts it again as a check. Calls run one after another.</p>
${ladderOf(data)}
</section>
<section>
<h2>Percentiles</h2>
<p class="soft">Latency of Encrypt by percentile. Each step to the right covers a tenth as many calls. The dashed line marks where KMS gives up.</p>
<div class="chart" id="chart-curves"></div>
</section>
<section>
<h2>Where the time goes</h2>
<p class="soft">Time of a request on a persistent connection by stage, as the server measures it. A new connection adds ${formatMs(connectMs.connect.p50)} for TCP and ${formatMs(connectMs.handshake.p50)} for the TLS handshake (medians).</p>
${waterfallOf(data)}
</section>
<section>
<h2>Under load</h2>
<p class="soft">Mostly Decrypt, some Encrypt, and a few GetKeyMetadata and GetHealthStatus, sent at a constant rate whether or not earlier requests have completed. Latency is measured from the time at which a request was due. The dashed lines mark the 250 ms after which KMS gives up, and its default quota of 1,800 requests a second.</p>
<div class="chart" id="chart-rates"></div>
${ratesOf(data)}
</section>
<section>
<h2>How long KMS would wait</h2>
<p class="soft">Modeled p99 of Encrypt over a link with the given round trip; the right end is 250 ms. A request takes one round trip on a persistent connection. A new connection adds one for TCP and ${subject.tls.startsWith('TLS 1.3') ? 'one' : 'two'} for ${escapeHtml(subject.tls.split(',')[0] ?? 'TLS')}. The model has no loss and no jitter. AWS recommends at most 35 ms.</p>
${linksOf(data)}
</section>
<footer>
<p>Client: Latchkey ${escapeHtml(client.latchkey)}, Node.js ${escapeHtml(client.node)}, ${escapeHtml(client.processor)}, ${String(client.cores)} cores. ${escapeHtml(subject.tls)}.
Percentiles by HdrHistogram over every call. If the client and the proxy share a machine, they compete for its processors. All figures are in this page as JSON, in the element <code>report-data</code>.</p>
</footer>`
}

const PAGE_STYLE = `
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --line: #d9dee5; --text: #17202b; --soft: #4d5866;
  --in-process: #5b6b7d; --backend: #0f7b72; --kept: #1f5fc4; --new: #a8460c;
  --limit: #b3261e; --good: #19703a; --track: #e8ecf1;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #10151c; --card: #18202a; --line: #313c49; --text: #e8edf3; --soft: #a9b5c2;
    --in-process: #9aa9b9; --backend: #4cc2b6; --kept: #78aaff; --new: #f0a05c;
    --limit: #ff8a80; --good: #6fcf8e; --track: #27313d;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif; }
main { max-width: 1060px; margin: 0 auto; padding: 40px 20px 64px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 8px; letter-spacing: -0.01em; }
h2 { font-size: 20px; margin: 0 0 4px; }
p { margin: 0 0 12px; max-width: 74ch; }
.soft { color: var(--soft); }
.small { font-size: 14px; }
.lead { font-size: 18px; margin: 16px 0 24px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 22px 24px; margin: 0 0 20px; break-inside: avoid; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(210px, 1fr)); gap: 16px; margin: 0 0 20px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px; }
.card b { display: block; font-size: 28px; line-height: 1.25; font-weight: 650; font-variant-numeric: tabular-nums; }
.good { color: var(--good); } .bad { color: var(--limit); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 15px; }
th, td { text-align: right; padding: 7px 10px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; color: var(--soft); font-size: 13px; }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal; }
tr:last-child td { border-bottom: 0; }
.scroll { overflow-x: auto; }
.bars { display: grid; grid-template-columns: minmax(150px, 250px) 1fr 92px; gap: 10px 14px; align-items: center; margin: 16px 0 4px; }
.bars .value { text-align: right; font-variant-numeric: tabular-nums; }
.track { position: relative; height: 22px; background: var(--track); border-radius: 4px; overflow: hidden; }
.fill { position: absolute; inset: 0 auto 0 0; min-width: 2px; border-radius: 4px 0 0 4px; }
.fill.tail { opacity: 0.45; }
.in-process { background: var(--in-process); } .backend { background: var(--backend); }
.kept { background: var(--kept); } .new { background: var(--new); }
.stack { position: relative; display: flex; height: 30px; border-radius: 4px; overflow: hidden; background: var(--track); margin: 10px 0; }
.stack i { display: block; height: 100%; border-right: 1px solid var(--card); }
.key { display: flex; flex-wrap: wrap; gap: 6px 18px; font-size: 14px; margin: 8px 0 0; padding: 0; list-style: none; }
.key i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 7px; vertical-align: -1px; }
.s0 { background: #6b7a8c; } .s1 { background: #1f5fc4; } .s2 { background: #7a4fc0; } .s3 { background: #0f7b72; }
.s4 { background: #a8460c; } .s5 { background: #8a6d00; } .s6 { background: #b02a6b; } .s7 { background: #3d7a1f; }
.s8 { background: #20698a; } .s9 { background: #93541f; }
.chart { margin: 14px 0 4px; min-height: 340px; }
.u-legend { font-size: 14px; } .u-legend .u-value { font-variant-numeric: tabular-nums; }
footer { color: var(--soft); font-size: 14px; }
footer p { max-width: none; }
@media (max-width: 640px) { .bars { grid-template-columns: 1fr 76px; } .bars .name { grid-column: 1 / -1; margin-bottom: -6px; } h1 { font-size: 25px; } section { padding: 18px 16px; } }
@media print { body { background: none; } section, .card { border-color: #bbb; } }
`
