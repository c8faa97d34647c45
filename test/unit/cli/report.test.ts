/** Tests the figures that a report computes from measurements. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { estimateLinks, tlsRoundTrips } from '../../../src/tools/report/measure.ts'
import { escapeHtml, formatMs, toScriptJson } from '../../../src/tools/report/page-sections.ts'
import { measureInProcess } from '../../../src/tools/report/series.ts'
import { StageReader } from '../../../src/tools/report/findings.ts'
import { sampleReport } from '../../support/report-data.ts'

void t.test('one round trip on a persistent connection, three or four on a new one', (t) => {
  const data = sampleReport()
  const [kept, fresh] = ['kept', 'new'].map(
    (name) => data.rungs.find((rung) => rung.name === name)?.encrypt.summary,
  )
  const at = (protocol: string) =>
    estimateLinks(data, protocol).find(({ roundTripMs }) => roundTripMs === 35)
  t.equal(at('TLSv1.3')?.kept.p99, (kept?.p99 ?? 0) + 35)
  t.equal(at('TLSv1.3')?.new.p50, (fresh?.p50 ?? 0) + 3 * 35)
  t.equal(at('TLSv1.2')?.new.p50, (fresh?.p50 ?? 0) + 4 * 35)
  t.equal(tlsRoundTrips('TLSv1.2'), 2)
  t.same(
    estimateLinks(data, 'TLSv1.3').map(({ roundTripMs }) => roundTripMs),
    [0, 10, 35, 100],
  )
  t.same(estimateLinks({ rungs: [] }, 'TLSv1.3'), [])
  t.end()
})

void t.test('stages are those of a typical request, by operation', (t) => {
  const reader = new StageReader()
  const line = (more: object) => {
    reader.take(
      JSON.stringify({
        msg: 'request',
        status: 200,
        operation: 'Encrypt',
        totalMs: 0.7,
        stagesMs: { auth: 0.5 },
        ...more,
      }),
    )
  }
  line({})
  line({ totalMs: 0.9, stagesMs: { auth: 0.7, verify: 1 } })
  line({ totalMs: 0.8, stagesMs: { auth: 0.6, verify: 1 } })
  line({ status: 400, totalMs: 900 })
  line({ operation: 'GetHealthStatus', totalMs: 900 })
  line({ msg: 'other', totalMs: 900 })
  line({ operation: 'Decrypt', totalMs: 0.9, stagesMs: { auth: 0.4 } })
  reader.take('no JSON at all')
  t.same(reader.accounts(), [
    { operation: 'Encrypt', requests: 3, totalMs: 0.8, stagesMs: { auth: 0.6, verify: 1 } },
    { operation: 'Decrypt', requests: 1, totalMs: 0.9, stagesMs: { auth: 0.4 } },
  ])
  t.end()
})

void t.test('the stages of a typical request add up to its total', (t) => {
  const reader = new StageReader()
  for (let i = 1; i <= 100; i++) {
    // As one stage gets slower, the other gets faster, so the stage medians do not add up to the median total.
    const stagesMs = { auth: (i * 7) % 10, backend: 10 - ((i * 7) % 10), encode: i / 100 }
    const totalMs = 10 + i / 100
    reader.take(
      JSON.stringify({ msg: 'request', status: 200, operation: 'Encrypt', totalMs, stagesMs }),
    )
  }
  const [account] = reader.accounts()
  const sum = Object.values(account?.stagesMs ?? {}).reduce((all, ms) => all + ms, 0)
  t.ok(Math.abs(sum - (account?.totalMs ?? 0)) < 0.005, `${String(sum)} ms`)
  t.ok(Math.abs((account?.totalMs ?? 0) - 10.5) < 0.05, 'the sum equals the median')
  t.end()
})

void t.test('the in-process baseline does all of the work of a request', async (t) => {
  const { encrypt, decrypt } = await measureInProcess(200)
  t.equal(encrypt.summary.count, 200)
  t.equal(decrypt.summary.count, 200)
  t.ok(encrypt.summary.p50 > decrypt.summary.p50, 'an Encrypt is verified by a Decrypt')
})

void t.test('text in the page is escaped', (t) => {
  t.equal(escapeHtml(`<b a="'&'">`), '&#60;b a=&#34;&#39;&#38;&#39;&#34;&#62;')
  t.equal(toScriptJson('</script>'), '"\\u003c/script>"')
  t.same([0.0123, 0.4567, 12.34, 250.4].map(formatMs), ['0.012 ms', '0.46 ms', '12.3 ms', '250 ms'])
  t.end()
})
