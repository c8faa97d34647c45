/** Decides whether a certificate chain ends at an authority that KMS trusts. */
// SPDX-License-Identifier: Apache-2.0
import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { rootCertificates } from 'node:tls'
import { UsageError } from '../../terminal/command.ts'
import { AWS_AUTHORITIES, AWS_AUTHORITIES_DATE } from './aws-authorities.ts'

export interface AuthorityList {
  /** Authority names by the SHA-256 of the root certificate, in lower-case hex. */
  readonly byFingerprint: ReadonlyMap<string, string>
  /** Origin of the list, for display. */
  readonly source: string
}

export type AuthorityMatch =
  | { readonly kind: 'listed'; readonly name: string }
  /**
   * The list contains the issuer's name, but no certificate is available to prove that this issuer
   * signed the certificate.
   */
  | { readonly kind: 'by-name'; readonly name: string }
  | { readonly kind: 'unlisted'; readonly issuer: string }

export function builtInAuthorities(): AuthorityList {
  const rows = AWS_AUTHORITIES.trim().split('\n')
  return {
    byFingerprint: new Map(rows.map((row) => [row.slice(0, 64), row.slice(65)])),
    source: `AWS's list as of ${AWS_AUTHORITIES_DATE}`,
  }
}

/**
 * Loads a list of authorities.
 * @param file path of a list in AWS's format, which is the output of `keytool -list -v`
 * @throws UsageError
 */
export async function loadAuthorities(file: string): Promise<AuthorityList> {
  const entries = (await readFile(file, 'utf8')).split(/^Alias name: /m).slice(1)
  const byFingerprint = new Map<string, string>()
  for (const entry of entries) {
    const owner = /^Owner: (.*)$/m.exec(entry)?.[1]
    const digest = /SHA256: ([0-9A-Fa-f:]{95})/.exec(entry)?.[1]
    if (owner !== undefined && digest !== undefined) {
      byFingerprint.set(digest.replaceAll(':', '').toLowerCase(), nameOfOwner(owner))
    }
  }
  if (byFingerprint.size === 0) {
    throw new UsageError(
      'INPUT_INVALID',
      `${file} lists no authorities in the format that AWS publishes`,
    )
  }
  return { byFingerprint, source: file }
}

/** Returns the CN of a distinguished name in Java's format, or the OU if there is no CN. */
function nameOfOwner(owner: string): string {
  const part = (key: string) =>
    new RegExp(`(?:^|, )${key}=(?:"([^"]+)"|((?:\\\\.|[^,])+))`).exec(owner)?.slice(1).find(Boolean)
  return (part('CN') ?? part('OU') ?? owner).replaceAll('\\', '')
}

/** Returns the CN of a distinguished name in Node's format, one attribute per line. */
export function commonNameOf(name: string): string | undefined {
  return /^CN=(.*)$/m.exec(name)?.[1]
}

const fingerprint = (certificate: X509Certificate) =>
  certificate.fingerprint256.replaceAll(':', '').toLowerCase()

/**
 * @param chain the certificates, leaf first, including those that the proxy did not send but this
 * host trusts
 */
export function matchAuthority(
  chain: readonly X509Certificate[],
  list: AuthorityList,
): AuthorityMatch {
  for (const certificate of chain) {
    const name = list.byFingerprint.get(fingerprint(certificate))
    if (name !== undefined) return { kind: 'listed', name }
  }
  // A cross-signed intermediate may lead to a listed root that the chain does not contain.
  const roots = rootCertificates
    .map((pem) => new X509Certificate(pem))
    .filter((root) => list.byFingerprint.has(fingerprint(root)))
  for (const certificate of chain) {
    const root = roots.find(
      (one) => certificate.checkIssued(one) && certificate.verify(one.publicKey),
    )
    if (root !== undefined) {
      return { kind: 'listed', name: list.byFingerprint.get(fingerprint(root)) ?? '' }
    }
  }
  const last = chain.at(-1)
  const issuer = last === undefined ? '' : (commonNameOf(last.issuer) ?? last.issuer)
  return [...list.byFingerprint.values()].includes(issuer)
    ? { kind: 'by-name', name: issuer }
    : { kind: 'unlisted', issuer }
}
