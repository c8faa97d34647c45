/** Runs every check, in the order in which KMS would encounter the problems. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { probeAad } from '../../core/probe.ts'
import { partitionOf } from '../../core/partitions.ts'
import { EndpointError } from '../../kms/client/dial.ts'
import { probeMetadata, type RequestMetadata } from '../../kms/client/requests.ts'
import type { Remote } from '../../terminal/flags/remote.ts'
import { checkAddress } from './address.ts'
import { bodyOf, bytesOf, faultsOfSuccess } from './answers.ts'
import type { AuthorityList } from './authorities.ts'
import { checkErrors, checkKeyErrors } from './errors.ts'
import { type Area, createReporter, type Finding } from './finding.ts'
import { checkHttp, watchIdle } from './http.ts'
import { checkHealth, checkKey, decrypt, encrypt, sealedOf } from './operations.ts'
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
  /** Idle time in milliseconds after which to test whether the proxy kept the connection open. */
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

/** Makes the first call. If it gets no response, the other checks would only repeat the failure. */
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
    take([
      skip(
        'key',
        'GetKeyMetadata, Encrypt, Decrypt and sizes: not tested; pass a key with --key-id',
      ),
    ])
    return
  }
  await run('api', take, () => checkKey(session, keyId))
  await run('limits', take, () => checkLimits(session, keyId))
  await run('errors', take, () => checkKeyErrors(session, keyId))
}

/** @returns false if the checks could not be run */
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
  if (!(error instanceof EndpointError)) return 'see the earlier findings'
  switch (error.code) {
    case 'ENDPOINT_NOT_FOUND':
      return 'add the name to DNS'
    case 'ENDPOINT_UNREACHABLE':
      return 'check that the proxy is running and that no firewall blocks the connection'
    case 'ENDPOINT_TLS_FAILED':
      return 'check that the port serves TLS 1.2 or 1.3'
    case 'ENDPOINT_NO_ANSWER':
      return "check the proxy's log; with mTLS, pass a certificate with --client-certificate"
  }
}

const { judge } = createReporter('limits')

/** Maximum sizes (XKS 1.0.3, Encrypt and API operations). */
const MAX_PLAINTEXT_BYTES = 4300
const MAX_AAD_BYTES = 8192
const MAX_ARN_CHARACTERS = 2048

export async function checkLimits(session: Session, keyId: string): Promise<readonly Finding[]> {
  const { region } = session.remote.credential
  const usual = (operation: string) => probeMetadata(operation, region)
  const long = (operation: string) => ({ ...usual(operation), ...longArns(region) })
  const round = (check: string, what: string, plaintext: number, aad: number, metadata = usual) =>
    roundTrip(session, keyId, { check, what, plaintext, aad, metadata })
  return [
    await round('one-byte', 'a plaintext of one byte', 1, 32),
    await round('plaintext', 'a plaintext of 4,300 bytes', MAX_PLAINTEXT_BYTES, 32),
    await round('aad', 'AAD of 8,192 bytes', 32, MAX_AAD_BYTES),
    await round('arns', 'ARNs of 2,048 characters', 32, 32, long),
    await round('all', 'all of these at once', MAX_PLAINTEXT_BYTES, MAX_AAD_BYTES, long),
  ]
}

function longArns(region: string): RequestMetadata {
  const pad = (start: string) => start.padEnd(MAX_ARN_CHARACTERS, 'x')
  return {
    awsPrincipalArn: pad(`arn:${partitionOf(region).id}:sts::123456789012:assumed-role/`),
    kmsKeyArn: pad(`arn:${partitionOf(region).id}:kms:${region}:123456789012:key/`),
  }
}

interface Sizes {
  readonly check: string
  readonly what: string
  readonly plaintext: number
  readonly aad: number
  readonly metadata: (operation: string) => RequestMetadata
}

async function roundTrip(session: Session, keyId: string, sizes: Sizes): Promise<Finding> {
  const plaintext = randomBytes(sizes.plaintext)
  const aad = probeAad(sizes.aad)
  const input = { plaintext, cdiv: true, aad }
  const encrypted = await encrypt(session, keyId, input, sizes.metadata('Encrypt'))
  const faults = [...faultsOfSuccess(encrypted).map((fault) => `Encrypt: ${fault}`)]
  const sealed = sealedOf(encrypted, aad)
  if (faults.length === 0 && sealed !== undefined) {
    const answer = await decrypt(session, keyId, sealed, sizes.metadata('Decrypt'))
    faults.push(...faultsOfSuccess(answer).map((fault) => `Decrypt: ${fault}`))
    const isSame = bytesOf(bodyOf(answer)['plaintext'])?.equals(plaintext) === true
    if (answer.status === 200 && !isSame) faults.push('Decrypt returned different bytes')
  }
  return judge(
    `limit-${sizes.check}`,
    `${sizes.what}: encrypted and decrypted`,
    faults.map((fault) => `${sizes.what}: ${fault}`),
    'raise the limits of the proxy and anything in front of it (see XKS 1.0.3, Encrypt)',
  )
}
