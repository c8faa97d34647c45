/** Checks which SigV4 signatures the proxy accepts and rejects. */
// SPDX-License-Identifier: Apache-2.0
import { createHash, randomBytes } from 'node:crypto'
import { Secret } from '../../core/secret.ts'
import { systemClock } from '../../core/clock.ts'
import {
  decryptBody,
  encryptBody,
  probeHealthBody,
  getKeyMetadataBody,
  probeMetadata,
} from '../../kms/client/requests.ts'
import { toAmzDate } from '../../kms/client/signing.ts'
import { faultsOfError, faultsOfSuccess } from './answers.ts'
import { createReporter, type Finding } from './finding.ts'
import type { Ask, Session } from './session.ts'

const { ok, warn, judge } = createReporter('sigv4')
const MINUTE_MS = 60_000
const MEND_ACCEPTED =
  'anyone who can reach the port can use keys, or replay and change requests: do not use this proxy in production'

type Change = Omit<Ask, 'path' | 'body'> & { readonly body?: string }

export async function checkSignatures(session: Session): Promise<readonly Finding[]> {
  const findings: Finding[] = []
  for (const [what, change] of Object.entries(accepted())) {
    const answer = await session.ask({ path: '/health', body: probeHealthBody(), ...change })
    const faults = faultsOfSuccess(answer)
    findings.push(
      faults.length === 0
        ? ok(`accepts-${slug(what)}`, `accepted: ${what}`)
        : warn(
            `accepts-${slug(what)}`,
            `not accepted: ${what}: ${faults.join('; ')}`,
            'accept every valid signature: another client may sign in this format',
          ),
    )
  }
  for (const [what, change] of Object.entries(refused(session))) {
    findings.push(
      await expectRefusal(session, what, {
        path: '/health',
        body: probeHealthBody(),
        ...change,
      }),
    )
  }
  findings.push(...(await checkEveryOperation(session)))
  return findings
}

async function expectRefusal(session: Session, what: string, ask: Ask): Promise<Finding> {
  const answer = await session.ask(ask)
  const faults = faultsOfError(answer, { AuthenticationFailedException: 401 })
  const hint =
    answer.status === 200 ? MEND_ACCEPTED : 'respond with 401 and AuthenticationFailedException'
  return judge(
    `refuses-${slug(what)}`,
    `refused: ${what}`,
    faults.map((fault) => `${what}: ${fault}`),
    hint,
  )
}

/** Returns valid signatures in forms other than the one that KMS and all other checks use. */
function accepted(): Readonly<Record<string, Change>> {
  return {
    'content-type and content-length also signed': { sign: { leftUnsigned: [] } },
    'a clock four minutes behind': { sign: { at: systemClock.now() - 4 * MINUTE_MS } },
    'a clock four minutes ahead': { sign: { at: systemClock.now() + 4 * MINUTE_MS } },
  }
}

/** Returns signatures with exactly one error each (XKS 1.0.3, Authentication and Appendix A). */
function refused(session: Session): Readonly<Record<string, Change>> {
  const { accessKeyId } = session.remote.credential
  const now = systemClock.now()
  const otherBody = probeHealthBody('CreateCustomKeyStore')
  return {
    'another secret': {
      credential: { secretAccessKey: new Secret(randomBytes(32).toString('hex')) },
    },
    'an unknown access key id': { credential: { accessKeyId: otherId(accessKeyId) } },
    'a body that was changed': { sign: { body: otherBody } },
    'a path that was changed': {
      sign: { target: `${session.remote.uriPath}/keys/other/metadata` },
    },
    'a method that was changed': { sign: { method: 'GET' } },
    'host not signed': { sign: { leftUnsigned: ['content-type', 'content-length', 'host'] } },
    'a different host signed': {
      sign: { host: 'other.example.com' },
      tamper: replace('Host', session.remote.hostHeader),
    },
    'x-amz-date not signed': {
      sign: { leftUnsigned: ['content-type', 'content-length', 'x-amz-date'] },
    },
    'x-amz-date changed': {
      sign: { at: now - MINUTE_MS },
      tamper: replace('X-Amz-Date', toAmzDate(now)),
    },
    'a date six minutes in the past': { sign: { at: now - 6 * MINUTE_MS } },
    'a date six minutes in the future': { sign: { at: now + 6 * MINUTE_MS } },
    "yesterday's date": { sign: { at: now - 24 * 60 * MINUTE_MS } },
    'a different service in the scope': { sign: { service: 'kms' } },
    'no Authorization header': { tamper: (headers) => pairs(headers, 'Authorization') },
    'an Authorization header in another format': {
      tamper: replace('Authorization', `Bearer ${'a'.repeat(40)}`),
    },
    'a signature cut short': {
      tamper: (headers) =>
        pairs({ ...headers, Authorization: (headers['Authorization'] ?? '').slice(0, -1) }),
    },
    'a signature with one digit changed': {
      tamper: (headers) =>
        pairs({ ...headers, Authorization: otherDigit(headers['Authorization'] ?? '') }),
    },
    'UNSIGNED-PAYLOAD': { sign: { headers: { 'X-Amz-Content-Sha256': 'UNSIGNED-PAYLOAD' } } },
    'the hash of a different body': {
      sign: {
        headers: { 'X-Amz-Content-Sha256': createHash('sha256').update(otherBody).digest('hex') },
      },
    },
  }
}

const pairs = (headers: Record<string, string>, without?: string) =>
  Object.entries(headers).filter(([name]) => name !== without)

const replace = (name: string, value: string) => (headers: Record<string, string>) =>
  pairs({ ...headers, [name]: value })

const slug = (what: string) => what.toLowerCase().replace(/[^a-z0-9]+/g, '-')

/** Returns a different value with the same alphabet and length. */
const otherId = (text: string) => `${text.startsWith('A') ? 'B' : 'A'}${text.slice(1)}`

function otherDigit(authorization: string): string {
  return `${authorization.slice(0, -1)}${authorization.endsWith('0') ? '1' : '0'}`
}

/** Checks that all four operations reject unsigned requests. */
async function checkEveryOperation(session: Session): Promise<readonly Finding[]> {
  const { region } = session.remote.credential
  const key = `/keys/${session.remote.keyId ?? 'doctor'}`
  const sealed = {
    ciphertext: randomBytes(32),
    initializationVector: randomBytes(12),
    authenticationTag: randomBytes(16),
  }
  const asks: Readonly<Record<string, Ask>> = {
    GetHealthStatus: { path: '/health', body: probeHealthBody() },
    GetKeyMetadata: {
      path: `${key}/metadata`,
      body: getKeyMetadataBody(probeMetadata('DescribeKey', region)),
    },
    Encrypt: {
      path: `${key}/encrypt`,
      body: encryptBody(probeMetadata('Encrypt', region), { plaintext: randomBytes(32) }),
    },
    Decrypt: {
      path: `${key}/decrypt`,
      body: decryptBody(probeMetadata('Decrypt', region), sealed),
    },
  }
  const forged = { secretAccessKey: new Secret(randomBytes(32).toString('hex')) }
  const findings: Finding[] = []
  for (const [operation, ask] of Object.entries(asks)) {
    findings.push(
      await expectRefusal(session, `${operation} with a wrong secret`, {
        ...ask,
        credential: forged,
      }),
      await expectRefusal(session, `${operation} unsigned`, {
        ...ask,
        tamper: (headers) => pairs(headers, 'Authorization'),
      }),
    )
  }
  return findings
}
