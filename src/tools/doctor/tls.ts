/** Checks TLS from outside: versions, cipher suites, and whether the server requests a client certificate. */
// SPDX-License-Identifier: Apache-2.0
import { kmsNames } from '../../core/partitions.ts'
import { groupOf, tlsGroups } from '../../core/tls-groups.ts'
import { watchHandshake } from '../../kms/client/certificate-request.ts'
import { dial, EndpointError, type DialOptions } from '../../kms/client/dial.ts'
import type { Remote } from '../../terminal/flags/remote.ts'
import type { AuthorityList } from './authorities.ts'
import { checkCertificate } from './certificate.ts'
import { createReporter, type Finding } from './finding.ts'
import { PATIENCE_MS, type Session } from './session.ts'

const { ok, warn, fail } = createReporter('tls')

/** A proxy supports at least one of these suites (XKS 1.0.3, API content type). */
const SUITES = [
  { name: 'TLS_AES_256_GCM_SHA384', version: 'TLSv1.3', openSsl: 'TLS_AES_256_GCM_SHA384' },
  {
    name: 'TLS_CHACHA20_POLY1305_SHA256',
    version: 'TLSv1.3',
    openSsl: 'TLS_CHACHA20_POLY1305_SHA256',
  },
  {
    name: 'TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384',
    version: 'TLSv1.2',
    openSsl: 'ECDHE-RSA-AES256-GCM-SHA384',
  },
  {
    name: 'TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384',
    version: 'TLSv1.2',
    openSsl: 'ECDHE-ECDSA-AES256-GCM-SHA384',
  },
] as const

type TlsOptions = NonNullable<DialOptions['tls']>

/**
 * Versions and suites that no server should still accept. OpenSSL's security level 0 lets this
 * client offer them.
 */
const OLD: TlsOptions = {
  minVersion: 'TLSv1',
  maxVersion: 'TLSv1.1',
  ciphers: 'ALL:@SECLEVEL=0',
}
const WEAK: readonly TlsOptions[] = [
  'ALL:!AESGCM:!AESCCM:!CHACHA20:!ARIA:@SECLEVEL=0',
  'kRSA:@SECLEVEL=0',
].map((ciphers) => ({ minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2', ciphers }))

export async function checkTls(
  session: Session,
  authorities: AuthorityList,
): Promise<readonly Finding[]> {
  const { remote } = session
  const connection = await session.connect()
  const certificate = checkCertificate(connection.socket, remote.endpoint.host, authorities)
  const group = groupOf(connection.socket)
  connection.close()
  return [
    ...(await checkSuites(remote)),
    ok('tls-group', describeGroup(group)),
    await checkOld(remote),
    await checkWeak(remote),
    ...certificate,
    await checkClientCertificate(session),
  ]
}

function describeGroup(group: string): string {
  if (group.includes('MLKEM')) return `key exchange with ${group}, a post-quantum hybrid group`
  return tlsGroups().includes('MLKEM')
    ? `key exchange with ${group}; the proxy supports no hybrid group`
    : `key exchange with ${group}; this version of Node.js supports no hybrid group`
}

/**
 * Returns the negotiated suite; undefined if the server or the local OpenSSL refuses the handshake.
 */
async function agree(remote: Remote, tls: TlsOptions): Promise<string | undefined> {
  try {
    const { socket } = await dial(remote.endpoint, { timeoutMs: PATIENCE_MS, verify: false, tls })
    const { standardName } = socket.getCipher()
    socket.destroy()
    return standardName
  } catch (error) {
    if (error instanceof EndpointError && error.code === 'ENDPOINT_TLS_FAILED') return undefined
    throw error
  }
}

async function checkSuites(remote: Remote): Promise<readonly Finding[]> {
  const agreed: string[] = []
  for (const { name, version, openSsl } of SUITES) {
    const tls = { minVersion: version, maxVersion: version, ciphers: openSsl } as const
    if ((await agree(remote, tls)) !== undefined)
      agreed.push(`${name} (${version.replace('v', ' ')})`)
  }
  return [
    agreed.length > 0
      ? ok('tls-suites', agreed.join(', '))
      : fail(
          'tls-suites',
          'the server accepts none of the four suites that KMS offers',
          `allow one of ${SUITES.map(({ name }) => name).join(', ')}`,
        ),
  ]
}

async function checkOld(remote: Remote): Promise<Finding> {
  const suite = await agree(remote, OLD)
  return suite === undefined
    ? ok('tls-old', 'TLS 1.0 and 1.1 are refused')
    : warn(
        'tls-old',
        `the server accepts TLS 1.0 or 1.1, with ${suite}`,
        'allow only TLS 1.2 and 1.3',
      )
}

async function checkWeak(remote: Remote): Promise<Finding> {
  for (const tls of WEAK) {
    const suite = await agree(remote, tls)
    if (suite !== undefined) {
      return warn(
        'tls-weak',
        `the server accepts ${suite}, which lacks forward secrecy or uses a block mode`,
        'allow only the four suites of the specification',
      )
    }
  }
  return ok('tls-weak', 'suites with static RSA or block modes are refused')
}

/**
 * Checks mTLS, which a proxy SHOULD support but a customer may leave off (XKS 1.0.3,
 * Authentication).
 */
async function checkClientCertificate({ remote }: Session): Promise<Finding> {
  const { clientCertificate: shown, ...without } = remote.endpoint
  const watch = watchHandshake()
  const isTaken = await dial(without, {
    timeoutMs: PATIENCE_MS,
    verify: false,
    wrap: watch.wrap,
    tls: { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' },
  }).then(
    ({ socket }) => {
      socket.destroy()
      return true
    },
    () => false,
  )
  const check = 'tls-client-certificate'
  if (!watch.wasAsked()) {
    if (isTaken)
      return ok(check, 'no client certificate is requested: SigV4 alone authenticates KMS')
    return ok(
      check,
      'unknown: TLS 1.2 is refused, and TLS 1.3 hides whether a client certificate is requested',
    )
  }
  if (shown !== undefined) return ok(check, 'a client certificate is requested, and one was sent')
  return warn(
    check,
    'a client certificate is requested, but none was sent',
    `KMS sends a client certificate with CN=${kmsNames(remote.credential.region).join(' or ')}; pass a certificate with --client-certificate`,
  )
}
