/**
 * Checks HTTP: HTTP/1.1 and HTTP/2, the fallback between them, the format of responses, the clock,
 * and how long a connection is kept open.
 */
// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '../../core/clock.ts'
import { Deadline, DeadlineExceeded } from '../../core/deadline.ts'
import type { Connection, WireAnswer } from '../../kms/client/connection.ts'
import { probeHealthBody } from '../../kms/client/requests.ts'
import { describe } from './answers.ts'
import { createReporter, type Finding } from './finding.ts'
import type { Session } from './session.ts'

const { ok, warn, fail } = createReporter('http')

const health = () => ({ path: '/health', body: probeHealthBody() })

export async function checkHttp(session: Session): Promise<readonly Finding[]> {
  const answer = await session.ask(health())
  return [
    await checkProtocol(session, 'http-1', 'HTTP/1.1, negotiated by ALPN', ['http/1.1']),
    await checkProtocol(session, 'http-no-alpn', 'HTTP/1.1 without ALPN', []),
    await checkHttp2(session),
    checkCompact(answer),
    checkClock(answer),
  ]
}

/**
 * Checks the HTTP version. A proxy supports HTTP/1.1 or later, with fallback to 1.1 (XKS 1.0.3, API
 * content type).
 */
async function checkProtocol(
  session: Session,
  check: string,
  what: string,
  alpn: readonly string[],
): Promise<Finding> {
  const hint = 'allow HTTP/1.1, which KMS may use'
  try {
    const connection = await session.connect(alpn)
    const answer = await session.askOn(connection, health())
    return answer.status === 200
      ? ok(check, what)
      : fail(check, `${what}: ${describe(answer)}`, hint)
  } catch (error) {
    return fail(check, `${what}: ${messageOf(error)}`, hint)
  }
}

async function checkHttp2(session: Session): Promise<Finding> {
  const hint =
    'use :authority as the host when verifying signatures, or do not offer h2: KMS also uses HTTP/1.1'
  try {
    const connection = await session.connect(['h2', 'http/1.1'])
    const answer = await session.askOn(connection, health())
    if (answer.status !== 200) {
      return fail(
        'http-2',
        `when HTTP/1.1 and HTTP/2 are offered, the proxy selects ${connection.protocol} and responds with ${describe(answer)}`,
        hint,
      )
    }
    return connection.protocol === 'h2'
      ? ok('http-2', 'HTTP/2')
      : ok('http-2', 'HTTP/2 is not offered; connections fall back to HTTP/1.1')
  } catch (error) {
    return fail('http-2', `the request failed when HTTP/2 was offered: ${messageOf(error)}`, hint)
  }
}

/** Checks for compact JSON, since AWS's test client reads only the last line of a response. */
function checkCompact(answer: WireAnswer): Finding {
  return /[\r\n]/.test(answer.text.trim())
    ? warn(
        'http-compact',
        'responses are JSON on several lines',
        "send JSON on a single line; KMS accepts several lines, but AWS's test client does not",
      )
    : ok('http-compact', 'responses are JSON on one line')
}

/**
 * Checks the proxy's clock, which may be off by up to five minutes in either direction (XKS 1.0.3,
 * Appendix A, Task 4).
 */
function checkClock(answer: WireAnswer): Finding {
  const date = Date.parse(String(answer.headers['date'] ?? ''))
  if (Number.isNaN(date)) {
    return warn(
      'clock',
      'the response has no Date header, so the clocks cannot be compared',
      "check the proxy's clock",
    )
  }
  // The Date header has a resolution of one second and was written shortly before the first byte arrived.
  const skewSeconds = Math.round((date + 500 - systemClock.now()) / 1000)
  const side = skewSeconds < 0 ? 'behind' : 'ahead of'
  const what = `the proxy's clock is ${String(Math.abs(skewSeconds))} s ${side} this host's`
  const hint =
    'the clocks of KMS and the proxy may differ by at most five minutes: synchronize them with NTP'
  if (Math.abs(skewSeconds) >= 300) return fail('clock', what, hint)
  if (Math.abs(skewSeconds) >= 30) return warn('clock', what, hint)
  return ok(
    'clock',
    Math.abs(skewSeconds) <= 2 ? "the proxy's clock agrees with this host's" : what,
  )
}

/** A connection that is used once and then left idle until `finish`. */
export interface IdleWatch {
  /** Waits until the connection has been idle for `idleMs`, then uses it again. */
  finish(idleMs: number): Promise<Finding>
}

export async function watchIdle(session: Session): Promise<IdleWatch> {
  const connection = await session.connect()
  const first = await session.askOn(connection, health())
  const idleSince = systemClock.monotonic()
  let closedAfterMs: number | undefined
  connection.socket.once('close', () => {
    closedAfterMs = systemClock.monotonic() - idleSince
  })
  const saysClose = /\bclose\b/i.test(String(first.headers['connection'] ?? ''))
  return {
    async finish(idleMs) {
      if (saysClose) return closed('after each response')
      const leftMs = idleMs - (systemClock.monotonic() - idleSince)
      if (leftMs > 0 && closedAfterMs === undefined) await closeOrTime(connection, leftMs)
      if (closedAfterMs !== undefined)
        return closed(`after ${seconds(closedAfterMs)} without a request`)
      try {
        await session.askOn(connection, health())
        const idle = seconds(systemClock.monotonic() - idleSince)
        return ok(
          'keep-alive',
          `a connection stays open, and works again after ${idle} without a request`,
        )
      } catch {
        return closed('at the next request')
      }
    },
  }
}

function closed(when: string): Finding {
  return warn(
    'keep-alive',
    `connections are closed ${when}`,
    'each new connection costs KMS two more round trips and a handshake: keep idle connections open for minutes, longer than the load balancer does (350 s for a Network Load Balancer)',
  )
}

/** Resolves when the connection closes, or after `ms` milliseconds. */
async function closeOrTime(connection: Connection, ms: number): Promise<void> {
  const closing = new Promise<void>((resolve) => {
    connection.socket.once('close', () => {
      resolve()
    })
  })
  await new Deadline(systemClock, ms).race(closing).catch((error: unknown) => {
    if (!(error instanceof DeadlineExceeded)) throw error
  })
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`
const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error))
