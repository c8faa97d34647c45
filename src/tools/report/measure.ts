/** Runs all measurements of a report in order and reports progress. */
// SPDX-License-Identifier: Apache-2.0
import { cpus } from 'node:os'
import { systemClock } from '../../core/clock.ts'
import { parseExternalKeyId } from '../../core/ids.ts'
import type { KeyBackend } from '../../keys/key-backend.ts'
import { openConnection } from '../../kms/client/connection.ts'
import { probeHealthBody } from '../../kms/client/requests.ts'
import { signHeaders } from '../../kms/client/signing.ts'
import { UsageError } from '../../terminal/command.ts'
import type { Remote } from '../../terminal/flags/remote.ts'
import { openConnections } from '../bench/connections.ts'
import { KMS_MIX, createRequestSource } from '../bench/mix.ts'
import { type LoadResult, findHighestRate, runOpenLoop } from '../bench/open-loop.ts'
import { bodyOf } from '../doctor/answers.ts'
import {
  type LinkEstimate,
  type RatePoint,
  type ReportData,
  type Rung,
  type StageAccount,
  findRung,
} from './findings.ts'
import { measureBackend, measureInProcess, measureKept, measureNew } from './series.ts'

export interface MeasureOptions {
  readonly remote: Remote
  readonly keyId: string
  readonly backend?: KeyBackend
  /** Number of calls of each operation on each path. */
  readonly calls: number
  readonly connections: number
  readonly secondsPerRate: number
  readonly maxRate: number
  readonly version: string
  readonly note: (text: string) => void
  /** Returns the stages that have appeared in the server's log so far. */
  readonly stages: () => Promise<readonly StageAccount[]>
}

const TIMEOUT_MS = 5000
const LANES = 32
const SEARCH = { startRate: 125, precision: 0.12 } as const

export async function measureAll(options: MeasureOptions): Promise<ReportData> {
  const { remote, keyId, note, calls } = options
  const subject = await describeSubject(options)
  const rungs: Rung[] = []
  note('in-process AES-GCM')
  rungs.push(await measureInProcess(calls))
  if (options.backend !== undefined) {
    note('the key backend alone')
    rungs.push(await measureBackend(options.backend, parseKeyId(keyId), calls))
  }
  note('through the proxy, on a persistent connection')
  rungs.push(await measureKept(remote, keyId, calls))
  // Read the stages before the load test, because requests wait for each other under load.
  const stages = await options.stages()
  note('through the proxy, with a new connection each time')
  const fresh = await measureNew(remote, keyId, options.connections)
  rungs.push(fresh.rung)
  const search = await measureRates(options)
  const { protocol, ...described } = subject
  return {
    madeAt: new Date(systemClock.now()).toISOString(),
    subject: described,
    client: {
      latchkey: options.version,
      node: process.version,
      processor: cpus()[0]?.model.trim() ?? 'unknown',
      cores: cpus().length,
    },
    rungs,
    connectMs: fresh.connectMs,
    stages,
    rates: [...search.results].sort((a, b) => a.rate - b.rate).map(toPoint),
    highestRate: search.highest,
    limitedBy: search.limitedBy,
    links: estimateLinks({ rungs }, protocol),
  }
}

function parseKeyId(text: string) {
  const keyId = parseExternalKeyId(text)
  if (keyId === undefined)
    throw new UsageError('INPUT_INVALID', `${text} is not an external key id`)
  return keyId
}

async function describeSubject({ remote, backend }: MeasureOptions) {
  const connection = await openConnection(remote.endpoint, { timeoutMs: TIMEOUT_MS })
  try {
    const target = `${remote.uriPath}/health`
    const body = probeHealthBody()
    const headers = signHeaders({ host: remote.hostHeader, target, body }, remote.credential)
    const health = bodyOf(await connection.exchange({ target, headers, body }, TIMEOUT_MS))
    const [manager] = (health['ekmFleetDetails'] ?? []) as readonly { readonly model?: unknown }[]
    const protocol = connection.socket.getProtocol() ?? ''
    return {
      endpoint: `https://${remote.hostHeader}${remote.uriPath}`,
      proxy: text(health['xksProxyModel']),
      keyManager: text(manager?.model),
      tls: `${protocol.replace('v', ' ')}, ${connection.socket.getCipher().standardName}`,
      protocol,
      ...(backend === undefined ? {} : { keyBackend: backend.vendor }),
    }
  } finally {
    connection.close()
  }
}

const text = (value: unknown) => (typeof value === 'string' ? value : 'unknown')

async function measureRates(options: MeasureOptions) {
  const { remote, keyId, note, maxRate, secondsPerRate } = options
  const source = await createRequestSource(remote, keyId, KMS_MIX)
  return findHighestRate({ ...SEARCH, maxRate }, async (rate) => {
    note(`${String(rate)} requests per second`)
    const connections = await openConnections(remote.endpoint, {
      kind: 'kept',
      count: LANES,
      timeoutMs: TIMEOUT_MS,
    })
    try {
      return await runOpenLoop({ connections, source, rate, durationMs: secondsPerRate * 1000 })
    } finally {
      for (const connection of connections) connection.close()
    }
  })
}

function toPoint({
  rate,
  achieved,
  latencyMs,
  errors,
  unsent,
  isClientLimited,
}: LoadResult): RatePoint {
  const failed = Object.values(errors).reduce((sum, count) => sum + count, 0)
  const { p50, p99, p999 } = latencyMs
  return { rate, achieved, p50, p99, p999, errors: failed + unsent, isClientLimited }
}

/** Round-trip times of the link in milliseconds. AWS advises at most 35 ms (XKS 1.0.3, KMS Considerations). */
const ROUND_TRIPS_MS = [0, 10, 35, 100] as const

/** One request and its response take one round trip. */
const HTTP_ROUND_TRIPS = 1
const TCP_ROUND_TRIPS = 1

/**
 * Returns the number of handshake round trips: one for TLS 1.3 (RFC 8446), two for TLS 1.2 (RFC
 * 5246).
 */
export function tlsRoundTrips(protocol: string): number {
  return protocol.startsWith('TLSv1.3') ? 1 : 2
}

/**
 * Models the time for Encrypt, the slower operation. DNS is left out because KMS rarely resolves
 * the name.
 */
export function estimateLinks(
  data: Pick<ReportData, 'rungs'>,
  protocol: string,
): readonly LinkEstimate[] {
  const kept = findRung(data, 'kept')?.encrypt.summary
  const fresh = findRung(data, 'new')?.encrypt.summary
  if (kept === undefined || fresh === undefined) return []
  const connecting = TCP_ROUND_TRIPS + tlsRoundTrips(protocol) + HTTP_ROUND_TRIPS
  const over = (
    { p50, p99 }: { p50: number; p99: number },
    trips: number,
    roundTripMs: number,
  ) => ({
    p50: p50 + trips * roundTripMs,
    p99: p99 + trips * roundTripMs,
  })
  return ROUND_TRIPS_MS.map((roundTripMs) => ({
    roundTripMs,
    kept: over(kept, HTTP_ROUND_TRIPS, roundTripMs),
    new: over(fresh, connecting, roundTripMs),
  }))
}
