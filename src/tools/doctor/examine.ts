/** Runs every check, in the order in which KMS would meet the faults. */
// SPDX-License-Identifier: Apache-2.0
import { EndpointError } from '../../kms/client/dial.ts'
import type { Remote } from '../../terminal/flags/remote.ts'
import { checkAddress } from './address.ts'
import type { AuthorityList } from './authorities.ts'
import { checkErrors, checkKeyErrors } from './errors.ts'
import { createReporter, type Area, type Finding } from './finding.ts'
import { checkHttp, watchIdle } from './http.ts'
import { checkLimits } from './limits.ts'
import { checkHealth, checkKey } from './operations.ts'
import { createSession, type Session } from './session.ts'
import { checkSignatures } from './signatures.ts'
import { checkTiming, type TimingCounts, type Timings } from './timing.ts'
import { checkTls } from './tls.ts'

export interface Examination {
  readonly findings: readonly Finding[]
  readonly timings: Timings
}

export interface ExaminationOptions {
  readonly authorities: AuthorityList
  /** How long to leave a connection idle to test whether the proxy keeps it, in milliseconds. */
  readonly idleMs: number
  readonly counts: TimingCounts
  /** Called with each finding as soon as it is known. */
  readonly onFinding?: (finding: Finding) => void
}

export async function examine(remote: Remote, options: ExaminationOptions): Promise<Examination> {
  const findings: Finding[] = []
  const take = (more: readonly Finding[]) => {
    findings.push(...more)
    for (const finding of more) options.onFinding?.(finding)
  }
  const session = createSession(remote)
  try {
    const isReached =
      (await run('address', take, () => checkAddress(remote))) &&
      (await run('tls', take, () => checkTls(session, options.authorities)))
    if (!isReached) return { findings, timings: {} }
    const idle = await start(take, session)
    if (idle === undefined) return { findings, timings: {} }
    await run('http', take, () => checkHttp(session))
    await run('errors', take, () => checkErrors(session))
    await run('sigv4', take, () => checkSignatures(session))
    await checkWithKey(session, take)
    let timings: Timings = {}
    await run('time', take, async () => {
      const timed = await checkTiming(session, options.counts)
      timings = timed.timings
      return timed.findings
    })
    await run('http', take, async () => [await idle.finish(options.idleMs)])
    return { findings, timings }
  } finally {
    session.close()
  }
}

type Take = (findings: readonly Finding[]) => void

/** Makes the first call. If it gets no response, the other checks would only repeat that. */
async function start(take: Take, session: Session) {
  let idle: Awaited<ReturnType<typeof watchIdle>> | undefined
  const isAnswered = await run('api', take, async () => {
    const health = await checkHealth(session)
    idle = await watchIdle(session)
    return health
  })
  return isAnswered ? idle : undefined
}

async function checkWithKey(session: Session, take: Take): Promise<void> {
  const { keyId } = session.remote
  if (keyId === undefined) {
    const { skip } = createReporter('api')
    take([skip('key', 'GetKeyMetadata, Encrypt, Decrypt and sizes: name a key with --key-id')])
    return
  }
  await run('api', take, () => checkKey(session, keyId))
  await run('limits', take, () => checkLimits(session, keyId))
  await run('errors', take, () => checkKeyErrors(session, keyId))
}

/** @returns whether the checks could be made at all */
async function run(
  area: Area,
  take: Take,
  check: () => Promise<readonly Finding[]>,
): Promise<boolean> {
  try {
    take(await check())
    return true
  } catch (error) {
    if (!(error instanceof Error)) throw error
    take([createReporter(area).fail(`${area}-unanswered`, error.message, hintOf(error))])
    return false
  }
}

function hintOf(error: Error): string {
  if (!(error instanceof EndpointError)) return 'see the findings before this one'
  switch (error.code) {
    case 'ENDPOINT_NOT_FOUND':
      return 'add the name to DNS'
    case 'ENDPOINT_UNREACHABLE':
      return 'is the proxy running, and does no firewall stand between?'
    case 'ENDPOINT_TLS_FAILED':
      return 'is this port TLS, and of version 1.2 or 1.3?'
    case 'ENDPOINT_NO_ANSWER':
      return "look at the proxy's log; with mTLS, show a certificate with --client-certificate"
  }
}
