/** Builds a report with plausible measurements. */
// SPDX-License-Identifier: Apache-2.0
import { createLatencies } from '../../src/tools/bench/histogram.ts'
import type { Measured, ReportData, Rung, RungName } from '../../src/tools/report/findings.ts'
import { estimateLinks } from '../../src/tools/report/measure.ts'

/** Returns latencies with a realistic tail. */
function measured(typicalMs: number, count: number): Measured {
  const latencies = createLatencies()
  for (let i = 0; i < count; i++) {
    const u = (i + 0.5) / count
    latencies.record(typicalMs * (0.85 + 0.3 * u + 0.06 / (1 - u) ** 0.75))
  }
  return { summary: latencies.summary(), curve: latencies.curve() }
}

const rung = (name: RungName, encryptMs: number, decryptMs: number, count: number): Rung => ({
  name,
  encrypt: measured(encryptMs, count),
  decrypt: measured(decryptMs, count),
})

export function sampleReport(): ReportData {
  const rungs = [
    rung('in-process', 0.011, 0.005, 2000),
    rung('backend', 0.048, 0.022, 2000),
    rung('kept', 0.41, 0.36, 2000),
    rung('new', 2.6, 2.5, 200),
  ]
  const phase = (ms: number) => measured(ms, 200).summary
  return {
    madeAt: '2026-11-25T19:00:00.000Z',
    subject: {
      endpoint: 'https://xks.example.com/payroll/kms/xks/v1',
      proxy: 'Latchkey XKS Proxy <0.1.0>',
      keyManager: 'Latchkey software keystore 0.1.0',
      tls: 'TLS 1.3, TLS_AES_256_GCM_SHA384',
      keyBackend: 'Latchkey',
    },
    client: { latchkey: '0.1.0', node: 'v20.20.2', processor: 'A processor', cores: 2 },
    rungs,
    connectMs: { dns: phase(0.1), connect: phase(0.12), handshake: phase(1.5) },
    stages: [
      {
        operation: 'Encrypt',
        requests: 2000,
        totalMs: 0.26,
        stagesMs: {
          read: 0.03,
          auth: 0.06,
          decode: 0.03,
          key: 0.01,
          backend: 0.05,
          verify: 0.05,
          encode: 0.03,
        },
      },
      {
        operation: 'Decrypt',
        requests: 2000,
        totalMs: 0.2,
        stagesMs: { read: 0.03, auth: 0.06, decode: 0.03, key: 0.01, backend: 0.05, encode: 0.02 },
      },
    ],
    rates: [125, 250, 500, 1000, 2000, 4000, 4500, 5000, 6000, 8000].map((rate) => ({
      rate,
      achieved: Math.min(rate, 5400),
      p50: 0.6 + (rate > 5000 ? 400 : 0),
      p99: 1.2 + (rate / 2500) ** 3 + (rate > 5000 ? 900 : 0),
      p999: 4 + (rate / 1800) ** 3 + (rate > 5000 ? 1000 : 0),
      errors: rate > 6000 ? 120 : 0,
      isClientLimited: rate > 6000,
    })),
    highestRate: 5000,
    limitedBy: 'proxy',
    links: estimateLinks({ rungs }, 'TLSv1.3'),
  }
}
