/** TLS as the specification requires it: versions, cipher suites, and the certificates and keys. */
// SPDX-License-Identifier: Apache-2.0
import { X509Certificate, createPrivateKey, constants } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { SecureContextOptions } from 'node:tls'
import { LatchkeyError } from '../../core/errors.ts'
import { tlsGroups } from '../../core/tls-groups.ts'
import type { ListenerConfig } from '../../config/config.ts'

/**
 * Exactly the four cipher suites of XKS 1.0.3, API content type, and none weaker. Node's default
 * list for TLS 1.2 still includes CBC and static RSA.
 */
export const CIPHER_SUITES = [
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
].join(':')

export type TlsErrorCode =
  | 'CERTIFICATE_UNREADABLE' // a file is missing or is not PEM
  | 'CERTIFICATE_MISMATCH' // the private key belongs to another certificate
  | 'CERTIFICATE_EXPIRED' // the certificate is expired or not yet valid

export class TlsError extends LatchkeyError<TlsErrorCode> {
  override readonly name = 'TlsError'
}

export interface TlsMaterial {
  readonly context: SecureContextOptions
  /** TLS context for connections from terminators. */
  readonly terminatorContext?: SecureContextOptions
  /** The server's own certificate. */
  readonly certificate: X509Certificate
}

/** The files to load; the admin listener has its own. */
export interface TlsFiles {
  readonly tls: ListenerConfig['tls']
  readonly clientCertificate?: {
    readonly caFile: string
    readonly forwardedBy?: { readonly certificate?: { readonly caFile: string } }
  }
}

/**
 * Reads the files and checks that they match, before any connection depends on them.
 * @throws TlsError
 */
export async function loadTlsMaterial(config: TlsFiles, now: number): Promise<TlsMaterial> {
  const { certificateFile, privateKeyFile } = config.tls
  const { clientCertificate } = config
  const forwardedBy = clientCertificate?.forwardedBy
  // The files are checked one after another, so that the same error is reported each time.
  const cert = await loadPem(certificateFile, 'CERTIFICATE')
  const key = await loadPem(privateKeyFile, 'PRIVATE KEY')
  const ca = await loadAuthorities(clientCertificate?.caFile)
  const terminatorCa = await loadAuthorities(forwardedBy?.certificate?.caFile)
  const certificate = parseCertificate(cert, certificateFile)
  checkPair(certificate, key, config)
  if (now > Date.parse(certificate.validTo) || now < Date.parse(certificate.validFrom)) {
    throw new TlsError(
      'CERTIFICATE_EXPIRED',
      `${certificateFile}: the certificate is expired or not yet valid`,
    )
  }
  const pair = { cert, key }
  return {
    certificate,
    context: toContext(pair, ca),
    ...(forwardedBy === undefined ? {} : { terminatorContext: toContext(pair, terminatorCa) }),
  }
}

const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

/** Reports whether the new bundle lacks an authority that may have verified a connected client. */
export function losesAuthority(
  before: SecureContextOptions | undefined,
  after: SecureContextOptions | undefined,
): boolean {
  const kept = new Set(fingerprintsOf(after))
  return fingerprintsOf(before).some((one) => !kept.has(one))
}

function fingerprintsOf(context: SecureContextOptions | undefined): readonly string[] {
  const { ca } = context ?? {}
  if (!Buffer.isBuffer(ca)) return []
  const blocks = ca.toString('latin1').match(PEM) ?? []
  return blocks.map((pem) => new X509Certificate(pem).fingerprint256)
}

function toContext(pair: { cert: Buffer; key: Buffer }, ca?: Buffer): SecureContextOptions {
  const mutual = ca !== undefined
  return {
    ...pair,
    ...(mutual ? { ca } : {}),
    minVersion: 'TLSv1.2',
    ciphers: CIPHER_SUITES,
    ecdhCurve: tlsGroups(),
    honorCipherOrder: true,
    // With mTLS there are no tickets, because a resumed session without a certificate counts as
    // authorized.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION | (mutual ? constants.SSL_OP_NO_TICKET : 0),
  }
}

/**
 * Checks client files like server files, except for the dates.
 * @throws TlsError
 */
export async function checkClientFiles(files: {
  readonly caFile?: string | undefined
  readonly certificateFile?: string | undefined
  readonly privateKeyFile?: string | undefined
}): Promise<void> {
  await loadAuthorities(files.caFile)
  const { certificateFile, privateKeyFile } = files
  if (certificateFile === undefined || privateKeyFile === undefined) return
  const cert = await loadPem(certificateFile, 'CERTIFICATE')
  const key = await loadPem(privateKeyFile, 'PRIVATE KEY')
  checkPair(parseCertificate(cert, certificateFile), key, {
    tls: { certificateFile, privateKeyFile },
  })
}

async function loadAuthorities(path: string | undefined): Promise<Buffer | undefined> {
  if (path === undefined) return undefined
  const pem = await loadPem(path, 'CERTIFICATE')
  parseCertificate(pem, path)
  // OpenSSL would skip a block that it cannot parse, and clients would then be refused.
  for (const block of pem.toString('latin1').match(PEM) ?? [])
    parseCertificate(Buffer.from(block), path)
  return pem
}

/**
 * Reads a PEM file, and explains common mistakes in such files. Removes a byte order mark, which
 * OpenSSL does not skip.
 * @param what type of PEM block that the file must contain
 */
async function loadPem(path: string, what: 'CERTIFICATE' | 'PRIVATE KEY'): Promise<Buffer> {
  const bytes = await loadFile(path)
  const text = bytes.toString('latin1').replace(/^\xef\xbb\xbf/, '')
  const begun = [...text.matchAll(/^-----BEGIN ([A-Z0-9 ]+)-----/gm)].map(([, label = '']) => label)
  const ended = [...text.matchAll(/^-----END [A-Z0-9 ]+-----/gm)].length
  const unreadable = (message: string, hint: string) =>
    new TlsError('CERTIFICATE_UNREADABLE', `${path}: ${message}`, { hint })
  if (/^(\xff\xfe|\xfe\xff)/.test(text)) throw unreadable('UTF-16 text', 'save the file as ASCII')
  if (begun.length === 0 && text.startsWith('\x30'))
    throw unreadable(
      'expected PEM, found DER',
      'run openssl x509 or openssl pkey with -inform DER -in FILE to convert the file',
    )
  if (begun.length !== ended) {
    throw unreadable(
      `the file is truncated: ${String(begun.length)} blocks begin and ${String(ended)} end`,
      'copy the whole file again',
    )
  }
  const other = what === 'CERTIFICATE' ? 'PRIVATE KEY' : 'CERTIFICATE'
  const has = (label: string) => begun.some((one) => one.endsWith(label))
  if (!has(what) && has(other)) {
    const kind = what === 'CERTIFICATE' ? 'certificate' : 'private key'
    throw unreadable(
      `expected a PEM ${kind}`,
      'check whether the certificate and the private key are swapped',
    )
  }
  return Buffer.from(text, 'latin1')
}

async function loadFile(path: string): Promise<Buffer> {
  try {
    return await readFile(path)
  } catch (cause) {
    throw new TlsError('CERTIFICATE_UNREADABLE', `${path}: cannot be read`, { cause })
  }
}

function parseCertificate(pem: Buffer, path: string): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch (cause) {
    throw new TlsError('CERTIFICATE_UNREADABLE', `${path}: expected a PEM certificate`, { cause })
  }
}

function checkPair(certificate: X509Certificate, key: Buffer, config: TlsFiles): void {
  const { certificateFile, privateKeyFile } = config.tls
  let matches: boolean
  try {
    matches = certificate.checkPrivateKey(createPrivateKey(key))
  } catch {
    if (
      // Matches the header of an encrypted PKCS #8 key, or the second line of the older format.
      /^-----BEGIN ENCRYPTED |^Proc-Type: 4,ENCRYPTED/m.test(key.toString('latin1'))
    ) {
      throw new TlsError(
        'CERTIFICATE_UNREADABLE',
        `${privateKeyFile}: the private key has a passphrase; expected an unencrypted key`,
        {
          hint: 'run openssl pkey -in FILE -out NEW_FILE to remove the passphrase; keep the new file at mode 0600',
        },
      )
    }
    // The parser's message may quote the file.
    throw new TlsError('CERTIFICATE_UNREADABLE', `${privateKeyFile}: expected a PEM private key`)
  }
  if (!matches) {
    throw new TlsError(
      'CERTIFICATE_MISMATCH',
      `${privateKeyFile} does not match the first certificate in ${certificateFile}`,
    )
  }
}
