/** The expiry of a client's certificate chain, which an open connection may outlive. */
// SPDX-License-Identifier: Apache-2.0
import type { DetailedPeerCertificate, TLSSocket } from 'node:tls'

/**
 * Returns the wall time at which the first certificate of the verified chain expires, in
 * milliseconds since the Unix epoch.
 */
export function chainEndsAt(socket: TLSSocket): number {
  let endsAt = Infinity
  const seen = new Set<string>()
  // The chain ends with a root, which is its own issuer. According to Node's types, the issuer can
  // be missing.
  let certificate: Partial<DetailedPeerCertificate> | undefined = socket.getPeerCertificate(true)
  while (certificate?.fingerprint256 !== undefined && !seen.has(certificate.fingerprint256)) {
    seen.add(certificate.fingerprint256)
    endsAt = Math.min(endsAt, Date.parse(certificate.valid_to ?? ''))
    certificate = certificate.issuerCertificate
  }
  // A date that cannot be parsed must not extend trust.
  return Number.isNaN(endsAt) ? 0 : endsAt
}
