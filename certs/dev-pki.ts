/** A certificate authority for development and tests. README.md beside it covers production certificates. */
// SPDX-License-Identifier: Apache-2.0
import { generateKeyPair, randomBytes } from 'node:crypto'
import { isIP } from 'node:net'
import { promisify } from 'node:util'
import forge from 'node-forge'

export interface Authority {
  readonly certificatePem: string
  readonly certificate: forge.pki.Certificate
  readonly privateKey: forge.pki.rsa.PrivateKey
}

export interface Issued {
  /** PEM. */
  readonly certificate: string
  /** PEM. */
  readonly privateKey: string
}

export interface CertificateRequest {
  /** Subject common name. It is required, because KMS compares it with the host name. */
  readonly commonName: string
  /** DNS names and IP addresses of the subject alternative name. */
  readonly names?: readonly string[]
  readonly usage: 'server' | 'client'
  /** Start of validity (default: an hour ago, since clocks differ). */
  readonly notBefore?: Date
  /** End of validity (default: in a year). */
  readonly notAfter?: Date
}

const HOUR_MS = 3_600_000
const YEAR_MS = 365 * 24 * HOUR_MS

/**
 * Generates an RSA key, because node-forge cannot sign with elliptic curves. Node does it off the event loop.
 * @returns the private key in PEM
 */
export async function generateKey(): Promise<string> {
  const { privateKey } = await promisify(generateKeyPair)('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  })
  return privateKey
}

function parseKey(privateKey: string) {
  const parsed = forge.pki.privateKeyFromPem(privateKey)
  return {
    pem: privateKey,
    privateKey: parsed,
    publicKey: forge.pki.setRsaPublicKey(parsed.n, parsed.e),
  }
}

function startCertificate(
  publicKey: forge.pki.rsa.PublicKey,
  validity: { readonly notBefore?: Date | undefined; readonly notAfter?: Date | undefined },
): forge.pki.Certificate {
  const certificate = forge.pki.createCertificate()
  certificate.publicKey = publicKey
  // Clears the top bit, or OpenSSL would read the serial number as negative.
  certificate.serialNumber = `01${randomBytes(15).toString('hex')}`
  certificate.validity.notBefore = validity.notBefore ?? new Date(Date.now() - HOUR_MS)
  certificate.validity.notAfter = validity.notAfter ?? new Date(Date.now() + YEAR_MS)
  return certificate
}

const subject = (commonName: string) => [{ name: 'commonName', value: commonName }]

/** @param makeKey returns a private key in PEM */
export async function createAuthority(
  commonName: string,
  makeKey = generateKey,
): Promise<Authority> {
  const { privateKey, publicKey } = parseKey(await makeKey())
  const certificate = startCertificate(publicKey, {})
  certificate.setSubject(subject(commonName))
  certificate.setIssuer(subject(commonName))
  certificate.setExtensions([
    { name: 'basicConstraints', cA: true, critical: true },
    { name: 'keyUsage', keyCertSign: true, cRLSign: true, critical: true },
    { name: 'subjectKeyIdentifier' },
  ])
  certificate.sign(privateKey, forge.md.sha256.create())
  return { certificate, privateKey, certificatePem: forge.pki.certificateToPem(certificate) }
}

/** @param makeKey returns a private key in PEM */
export async function issueCertificate(
  authority: Authority,
  request: CertificateRequest,
  makeKey = generateKey,
): Promise<Issued> {
  const { pem, publicKey } = parseKey(await makeKey())
  const certificate = startCertificate(publicKey, request)
  certificate.setSubject(subject(request.commonName))
  certificate.setIssuer(authority.certificate.subject.attributes)
  const isServer = request.usage === 'server'
  certificate.setExtensions([
    { name: 'basicConstraints', cA: false, critical: true },
    { name: 'keyUsage', digitalSignature: true, keyEncipherment: true, critical: true },
    { name: 'extKeyUsage', serverAuth: isServer, clientAuth: !isServer },
    ...((request.names ?? []).length === 0
      ? []
      : [{ name: 'subjectAltName', altNames: (request.names ?? []).map(toAltName) }]),
    { name: 'subjectKeyIdentifier' },
    {
      name: 'authorityKeyIdentifier',
      keyIdentifier: authority.certificate.generateSubjectKeyIdentifier().getBytes(),
    },
  ])
  certificate.sign(authority.privateKey, forge.md.sha256.create())
  return { certificate: forge.pki.certificateToPem(certificate), privateKey: pem }
}

/** GeneralName of RFC 5280: 7 is an IP address, 2 a DNS name. */
function toAltName(name: string): { type: number; value?: string; ip?: string } {
  return isIP(name) === 0 ? { type: 2, value: name } : { type: 7, ip: name }
}
