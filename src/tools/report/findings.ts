/** What a report holds: all figures in milliseconds, and nothing that is secret. */
// SPDX-License-Identifier: Apache-2.0
import type { CurvePoint, LatencySummary } from '../bench/histogram.ts'

/** From the cheapest way to the dearest. */
export const RUNGS = ['in-process', 'backend', 'kept', 'new'] as const
export type RungName = (typeof RUNGS)[number]

export interface Measured {
  readonly summary: LatencySummary
  readonly curve: readonly CurvePoint[]
}

/** The same work done one way: Encrypt of a 32-byte data key with CDIV and its proof, and Decrypt. */
export interface Rung {
  readonly name: RungName
  readonly encrypt: Measured
  readonly decrypt: Measured
}

/** The server's own account of a typical request: stages and total are means of those around the median. */
export interface StageAccount {
  readonly operation: 'Encrypt' | 'Decrypt'
  readonly requests: number
  readonly totalMs: number
  readonly stagesMs: Readonly<Record<string, number>>
}

export interface RatePoint {
  readonly rate: number
  readonly achieved: number
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly errors: number
  readonly isClientLimited: boolean
}

export interface ReportData {
  readonly madeAt: string
  readonly subject: {
    readonly endpoint: string
    /** xksProxyModel and xksProxyVendor of GetHealthStatus. */
    readonly proxy: string
    readonly keyManager: string
    readonly tls: string
    readonly keyBackend?: string
  }
  readonly client: {
    readonly latchkey: string
    readonly node: string
    readonly processor: string
    readonly cores: number
  }
  readonly rungs: readonly Rung[]
  readonly connectMs: {
    readonly dns: LatencySummary
    readonly connect: LatencySummary
    readonly handshake: LatencySummary
  }
  readonly stages: readonly StageAccount[]
  readonly rates: readonly RatePoint[]
  /** Requests a second with a p99 under 250 ms and no error. */
  readonly highestRate: number
  readonly limitedBy: 'proxy' | 'client' | 'maximum'
  readonly links: readonly LinkEstimate[]
}

/** What KMS would wait for over a link, by the model in `link-model.ts`. */
export interface LinkEstimate {
  readonly roundTripMs: number
  readonly kept: { readonly p50: number; readonly p99: number }
  readonly new: { readonly p50: number; readonly p99: number }
}

export function findRung(data: Pick<ReportData, 'rungs'>, name: RungName): Rung | undefined {
  return data.rungs.find((rung) => rung.name === name)
}
