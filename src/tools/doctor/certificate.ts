/** Checks the certificate of the endpoint: issuer, name, expiry and key. */
// SPDX-License-Identifier: Apache-2.0
import { X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import type { DetailedPeerCertificate, TLSSocket } from 'node:tls'
import { systemClock } from '../../core/clock.ts'
import { commonNameOf, matchAuthority, type AuthorityList } from './authorities.ts'
import { createReporter, quoted, type Finding } from './finding.ts'

const { ok, warn, fail } = createReporter('tls')
const DAY_MS = 86_400_000
/** AWS's example alarm for XksProxyCertificateDaysToExpire fires at 10 days. */
const WARN_DAYS = 10
/** Object identifier of the extended key usage for servers (RFC 5280, section 4.2.1.12). */
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1'

export function checkCertificate(
  socket: TLSSocket,
  host: string,
  authorities: AuthorityList,
): readonly Finding[] {
  const chain = chainOf(socket)
  const [leaf] = chain
  if (leaf === undefined) {
    return [
      fail(
        'tls-chain',
        'the server sent no certificate',
        'configure a server certificate; see certs/README.md',
      ),
    ]
  }
  return [
    checkChain(socket, chain),
    checkAuthority(chain, authorities),
    checkAlternativeName(leaf, host),
    checkCommonName(leaf, host),
    checkUsage(leaf),
    checkValidity(leaf),
    checkKey(leaf),
  ]
}

/**
 * Returns the chain, leaf first. Certificates that the proxy did not send but this host trusts,
 * such as the root, come last.
 */
function chainOf(socket: TLSSocket): readonly X509Certificate[] {
  const chain: X509Certificate[] = []
  // Node returns an empty object when there is no certificate, and the root names itself as its issuer.
  let next: Partial<DetailedPeerCertificate> | undefined = socket.getPeerCertificate(true)
  for (let raw = next.raw; raw !== undefined; raw = next?.raw) {
    const certificate = new X509Certificate(raw)
    if (chain.some((one) => one.raw.equals(certificate.raw))) break
    chain.push(certificate)
    next = next?.issuerCertificate
  }
  return chain
}

function checkChain(socket: TLSSocket, chain: readonly X509Certificate[]): Finding {
  // Node.js sets this whenever verification fails. Name mismatches are checked separately.
  const code = socket.authorizationError as unknown
  const reason = code instanceof Error ? code.message : String(code)
  const links = `${String(chain.length)} certificate(s)`
  if (socket.authorized || reason.startsWith('ERR_TLS_CERT_ALTNAME')) {
    return ok('tls-chain', `the chain is complete and trusted here: ${links}`)
  }
  const isIncomplete = /UNABLE_TO_(?:VERIFY_LEAF_SIGNATURE|GET_ISSUER_CERT)/.test(reason)
  return isIncomplete
    ? fail(
        'tls-chain',
        `the chain is incomplete, or this host does not trust its authority (${reason}): ${links} received`,
        'serve the leaf with all its intermediates; pass a private CA with --ca',
      )
    : fail('tls-chain', `the chain does not verify: ${reason}`, 'renew or replace the certificate')
}

/**
 * Checks that a public authority that KMS trusts issued the certificate (XKS 1.0.3,
 * Authentication).
 */
function checkAuthority(chain: readonly X509Certificate[], list: AuthorityList): Finding {
  const match = matchAuthority(chain, list)
  if (match.kind === 'listed') return ok('tls-authority', `${match.name} is on ${list.source}`)
  if (match.kind === 'by-name') {
    return warn(
      'tls-authority',
      `${match.name} is on ${list.source} by name only; the server did not send its certificate`,
      'serve the complete chain, and compare the fingerprint of the root with the list',
    )
  }
  return warn(
    'tls-authority',
    `${quoted(match.issuer)} is not on ${list.source}: KMS may not trust this certificate`,
    "compare the issuer with AWS's current list by passing --authorities FILE; KMS trusts no private authority, even behind a VPC endpoint service",
  )
}

function checkAlternativeName(leaf: X509Certificate, host: string): Finding {
  const isAddress = isIP(host) !== 0 && leaf.checkIP(host) !== undefined
  return isAddress || leaf.checkHost(host, { subject: 'never' }) !== undefined
    ? ok('tls-name', `the certificate is for ${host}`)
    : fail(
        'tls-name',
        `the certificate is not for ${host}: ${quoted(leaf.subjectAltName ?? 'no subject alternative name')}`,
        "get a certificate with the endpoint's host name among its subject alternative names",
      )
}

/** Checks that the subject's common name is the host name of the endpoint (KMS Developer Guide). */
function checkCommonName(leaf: X509Certificate, host: string): Finding {
  const name = commonNameOf(leaf.subject)
  if (name?.toLowerCase() === host.toLowerCase()) {
    return ok('tls-common-name', `the subject's common name is ${host}`)
  }
  const hint = "get a certificate with the endpoint's host name as its subject common name"
  if (name?.startsWith('*.') === true && name.slice(1) === host.slice(host.indexOf('.'))) {
    return warn('tls-common-name', `the subject's common name is the wildcard ${name}`, hint)
  }
  return fail(
    'tls-common-name',
    name === undefined
      ? 'the subject has no common name, which KMS checks'
      : `the subject's common name is ${quoted(name)}, not ${host}`,
    hint,
  )
}

function checkUsage(leaf: X509Certificate): Finding {
  // Node's `keyUsage` is the extended key usage.
  const usages = leaf.keyUsage as readonly string[] | undefined
  if (usages === undefined) {
    return warn(
      'tls-usage',
      'the certificate has no extended key usage',
      'get a certificate with the extended key usage TLS server authentication',
    )
  }
  return usages.includes(SERVER_AUTH)
    ? ok('tls-usage', 'the certificate may be used by a TLS server')
    : fail(
        'tls-usage',
        `the certificate may not be used by a TLS server: ${usages.join(', ')}`,
        'get a certificate with the extended key usage TLS server authentication',
      )
}

function checkValidity(leaf: X509Certificate): Finding {
  const now = systemClock.now()
  const [from, to] = [Date.parse(leaf.validFrom), Date.parse(leaf.validTo)]
  const days = Math.floor((to - now) / DAY_MS)
  const until = new Date(to).toISOString().slice(0, 10)
  if (now < from)
    return fail('tls-days', 'the certificate is not valid yet', 'check the clocks of both hosts')
  if (now > to) return fail('tls-days', `the certificate expired on ${until}`, 'renew it')
  if (days < WARN_DAYS) {
    return warn('tls-days', `${String(days)} days left, until ${until}`, 'renew it now')
  }
  return ok('tls-days', `${String(days)} days left, until ${until}`)
}

function checkKey(leaf: X509Certificate): Finding {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = leaf.publicKey
  if (type !== 'rsa')
    return ok('tls-key', `${(type ?? '').toUpperCase()} ${details?.namedCurve ?? ''}`)
  const bits = details?.modulusLength ?? 0
  if (bits < 2048) return fail('tls-key', `${String(bits)}-bit RSA key`, 'P-256, or RSA of 2,048')
  return bits > 3072
    ? warn(
        'tls-key',
        `${String(bits)}-bit RSA key: each new connection costs milliseconds of processor time`,
        'use ECDSA P-256, whose handshakes are far cheaper, or 2,048-bit RSA',
      )
    : ok('tls-key', `${String(bits)}-bit RSA key; ECDSA P-256 would make handshakes cheaper`)
}
