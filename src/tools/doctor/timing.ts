/** Times requests as KMS would see them, on a persistent connection and on new ones. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { probeAad } from '../../core/probe.ts'
import type { ConnectPhases } from '../../kms/client/dial.ts'
import {
  decryptBody,
  encryptBody,
  probeHealthBody,
  probeMetadata,
  type DecryptArguments,
} from '../../kms/client/requests.ts'
import { createLatencies, type Latencies, type LatencySummary } from '../bench/histogram.ts'
import { describe } from './answers.ts'
import { createReporter, type Finding } from './finding.ts'
import { encrypt, sealedOf } from './operations.ts'
import type { Ask, Session } from './session.ts'

const { ok, warn, fail } = createReporter('time')

/** KMS's request timeout, in milliseconds (XKS 1.0.3, KMS Considerations). */
export const KMS_TIMEOUT_MS = 250
/**
 * Round-trip time to the AWS region that a proxy SHOULD not exceed, in milliseconds (XKS 1.0.3, KMS
 * Considerations).
 */
export const ADVISED_ROUND_TRIP_MS = 35
/**
 * Expected upper bound, in milliseconds, on how much longer a first request takes than later ones,
 * excluding the handshake.
 */
const SLOW_START_MS = 25
/**
 * Warning threshold in milliseconds. Above 60 % of KMS's timeout, little time is left for the
 * network.
 */
const WARN_MS = 150

/** Latency summaries in milliseconds, by phase or operation. */
export type Timings = Readonly<Record<string, LatencySummary>>

export interface TimingCounts {
  /** Number of requests on one connection for each of Encrypt and Decrypt. */
  readonly requests: number
  readonly connections: number
}

export async function checkTiming(
  session: Session,
  counts: TimingCounts,
): Promise<{ readonly findings: readonly Finding[]; readonly timings: Timings }> {
  const kept = await timeKept(session, counts.requests)
  const fresh = await timeFresh(session, counts.connections)
  const timings = Object.fromEntries(
    Object.entries({ ...kept, ...fresh.phases }).map(([name, one]) => [name, one.summary()]),
  )
  return {
    timings,
    findings: [
      judgeRoundTrip(fresh.phases.connect),
      ...Object.entries(kept).map(([name, one]) =>
        judgeTime(`time-${name.toLowerCase()}`, `${name} on a persistent connection`, one),
      ),
      judgeFirstByte(Object.values(kept).at(-1), fresh.phases.firstByte),
      judgeTime('time-new-connection', `a new connection and ${fresh.what}`, fresh.phases.total),
    ],
  }
}

async function timeKept(session: Session, count: number): Promise<Record<string, Latencies>> {
  const asks = await prepareAsks(session)
  const kept = Object.fromEntries(Object.keys(asks).map((name) => [name, createLatencies()]))
  for (let i = -WARM_UP; i < count; i++) {
    for (const [name, ask] of Object.entries(asks)) {
      const answer = await session.ask(ask())
      if (answer.status !== 200) throw new Error(`the response to ${name} was ${describe(answer)}`)
      if (i >= 0) kept[name]?.record(answer.totalMs)
    }
  }
  return kept
}

/** Number of calls to leave out of the summaries, because the first calls run cold code. */
const WARM_UP = 5

async function prepareAsks(session: Session): Promise<Readonly<Record<string, () => Ask>>> {
  const { keyId, credential } = session.remote
  const health = () => ({ path: '/health', body: probeHealthBody() })
  if (keyId === undefined) return { GetHealthStatus: health }
  const aad = probeAad(64)
  const sealed = sealedOf(await encrypt(session, keyId, { plaintext: randomBytes(32), aad }), aad)
  if (sealed === undefined) return { GetHealthStatus: health }
  return {
    Encrypt: () => ({
      path: `/keys/${keyId}/encrypt`,
      body: encryptBody(probeMetadata('GenerateDataKey', credential.region), {
        plaintext: randomBytes(32),
        aad: probeAad(64),
        cdiv: true,
      }),
    }),
    Decrypt: () => decryptAsk(keyId, credential.region, sealed),
  }
}

function decryptAsk(keyId: string, region: string, sealed: DecryptArguments): Ask {
  return {
    path: `/keys/${keyId}/decrypt`,
    body: decryptBody(probeMetadata('Decrypt', region), sealed),
  }
}

interface Fresh {
  readonly what: string
  readonly phases: Readonly<
    Record<'dns' | 'connect' | 'handshake' | 'firstByte' | 'total', Latencies>
  >
}

async function timeFresh(session: Session, count: number): Promise<Fresh> {
  const asks = await prepareAsks(session)
  const [what = '', ask] = Object.entries(asks).at(-1) ?? []
  const phases = {
    dns: createLatencies(),
    connect: createLatencies(),
    handshake: createLatencies(),
    firstByte: createLatencies(),
    total: createLatencies(),
  }
  for (let i = 0; i < count && ask !== undefined; i++) {
    const connection = await session.connect()
    const answer = await session.askOn(connection, ask())
    connection.close()
    const { dnsMs, connectMs, handshakeMs }: ConnectPhases = connection.phases
    phases.dns.record(dnsMs)
    phases.connect.record(connectMs)
    phases.handshake.record(handshakeMs)
    phases.firstByte.record(answer.firstByteMs)
    phases.total.record(dnsMs + connectMs + handshakeMs + answer.totalMs)
  }
  return { what, phases }
}

/** Estimates the round trip from the TCP connect time. */
function judgeRoundTrip(connect: Latencies): Finding {
  const ms = connect.at(50)
  const what = `the round trip from here takes ${ms.toFixed(1)} ms (TCP, median); AWS recommends at most 35 ms from its region`
  return ms <= ADVISED_ROUND_TRIP_MS
    ? ok('round-trip', what)
    : warn('round-trip', what, 'run the proxy closer to the region, and run doctor from there')
}

/**
 * Detects a delay of about 40 ms, which occurs if Nagle's algorithm at the proxy waits for the
 * client's delayed acknowledgement.
 */
function judgeFirstByte(kept: Latencies | undefined, fresh: Latencies): Finding {
  const moreMs = fresh.at(50) - (kept?.at(50) ?? 0)
  const what = `the first request on a connection takes ${moreMs.toFixed(1)} ms longer than later requests (median)`
  return moreMs < SLOW_START_MS
    ? ok('first-request', what)
    : warn(
        'first-request',
        what,
        'set TCP_NODELAY on the sockets of the proxy and anything in front of it',
      )
}

function judgeTime(check: string, what: string, latencies: Latencies): Finding {
  const p99 = latencies.at(99)
  const detail = `${what}: p99 ${p99.toFixed(1)} ms, ${((p99 / KMS_TIMEOUT_MS) * 100).toFixed(0)} % of the 250 ms that KMS waits`
  const hint = 'check the key manager and the load; KMS gives up after 250 ms and retries once'
  if (p99 >= KMS_TIMEOUT_MS) return fail(check, detail, hint)
  return p99 >= WARN_MS ? warn(check, detail, hint) : ok(check, detail)
}
