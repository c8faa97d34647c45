/** The report as one HTML page that needs nothing else: no request, no file beside it. */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { KMS_TIMEOUT_MS } from '../doctor/timing.ts'
import type { ReportData } from './findings.ts'
import { escapeHtml, formatMs, toScriptJson } from './html.ts'
import {
  cardsOf,
  KMS_QUOTA,
  ladderOf,
  leadOf,
  linksOf,
  ratesOf,
  RUNG_TITLES,
  waterfallOf,
} from './page-sections.ts'
import { drawCharts } from './page-script.ts'
import { PAGE_STYLE } from './page-style.ts'

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
<title>What an external key adds: ${escapeHtml(data.subject.proxy)}</title>
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

/** Only these scripts, and nothing from anywhere else. */
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
<h1>What an external key adds</h1>
<p class="soft">${escapeHtml(subject.proxy)} at ${escapeHtml(subject.endpoint)}, key manager ${escapeHtml(subject.keyManager)}; measured ${escapeHtml(data.madeAt.slice(0, 16).replace('T', ' '))} UTC</p>
<p class="lead">${leadOf(data)}</p>
</header>
<div class="cards">${cardsOf(data)}</div>
<section>
<h2>The same work, four ways</h2>
<p class="soft">An Encrypt is the wrapping of a 32-byte data key with AAD, its integrity value, and the decryption that proves it. One call after the other.</p>
${ladderOf(data)}
</section>
<section>
<h2>Percentiles</h2>
<p class="soft">Encrypt. Each step to the right is a tenth as many calls. The dashed line is where KMS gives up.</p>
<div class="chart" id="chart-curves"></div>
</section>
<section>
<h2>Where the time goes</h2>
<p class="soft">The server’s own account of a request on a kept connection, by stage. A new connection costs ${formatMs(connectMs.connect.p50)} for TCP and ${formatMs(connectMs.handshake.p50)} for the TLS handshake besides (medians).</p>
${waterfallOf(data)}
</section>
<section>
<h2>Under load</h2>
<p class="soft">Mostly Decrypt, some Encrypt, few GetKeyMetadata and GetHealthStatus, due at a constant rate whether earlier ones were answered or not; a latency counts from when its request was due. Dashed: the 250 ms after which KMS gives up, and its default quota of 1,800 requests a second.</p>
<div class="chart" id="chart-rates"></div>
${ratesOf(data)}
</section>
<section>
<h2>What KMS would wait for</h2>
<p class="soft">Encrypt at p99, over a link with the given round trip; the right end is 250 ms. A model: one round trip for a request on a kept connection; on a new one, another for TCP and ${subject.tls.startsWith('TLS 1.3') ? 'one' : 'two'} for ${escapeHtml(subject.tls.split(',')[0] ?? 'TLS')}. No loss, no jitter. AWS advises 35 ms at most.</p>
${linksOf(data)}
</section>
<footer>
<p>Client: Latchkey ${escapeHtml(client.latchkey)}, Node.js ${escapeHtml(client.node)}, ${escapeHtml(client.processor)}, ${String(client.cores)} cores. ${escapeHtml(subject.tls)}.
Percentiles by HdrHistogram over every call. Where client and proxy share a machine, each takes from the other. All figures are in this page as JSON, in the element <code>report-data</code>.</p>
</footer>`
}
