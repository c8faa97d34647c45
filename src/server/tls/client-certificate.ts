/** mTLS: decides whether a connection may carry HTTP at all. */
// SPDX-License-Identifier: Apache-2.0
import type { TLSSocket } from 'node:tls'

/** Reason for closing a connection, for the log. */
export interface Refusal {
  readonly reason: string
  readonly subject?: string
  readonly issuer?: string
}

/** Reason for closing a connection that is already open. */
export const CLOSED = {
  /** The client's certificate has expired, or its authority was removed. */
  untrusted: { reason: 'CERTIFICATE_OVER' },
  /** Too many consecutive requests had no valid signature. */
  unsigned: { reason: 'UNSIGNED_REQUESTS' },
  /**
   * The server was full, and this was the connection without a valid signature that had been idle
   * longest.
   */
  crowded: { reason: 'CONNECTIONS_FULL' },
  /** The request used CONNECT, the method for tunnels, which ends the connection. */
  connect: { reason: 'CONNECT' },
  /**
   * On HTTP/2, the headers of a request did not arrive in time. The code is Node's own for
   * HTTP/1.1.
   */
  slow: { reason: 'ERR_HTTP_REQUEST_TIMEOUT' },
} as const satisfies Readonly<Record<string, Refusal>>

/**
 * XKS 1.0.3, Authentication, requires that the certificate chain to the configured authority and
 * have one of the configured subject common names, which must match exactly. `authorized` alone
 * proves nothing: Node sets it on a resumed TLS 1.3 session without any certificate. The check
 * therefore requires a certificate first, and then verifies the chain and the name.
 */
export function checkClientCertificate(
  socket: TLSSocket,
  subjects: readonly string[],
): Refusal | undefined {
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined) return { reason: 'NO_CERTIFICATE' }
  const names = { subject: certificate.subject, issuer: certificate.issuer }
  if (!socket.authorized) return { reason: toReason(socket.authorizationError), ...names }
  const commonName = commonNameOf(socket)
  if (commonName === undefined || !subjects.includes(commonName)) {
    return { reason: 'WRONG_SUBJECT', ...names }
  }
  return undefined
}

/** The client's certificate, and the result that enforcing mTLS would give for its connection. */
export interface SeenCertificate {
  /** `OK`, or the reason for the refusal. */
  readonly result: string
  readonly shown?: {
    /** Absent if the certificate has no common name, or several. */
    readonly commonName?: string
    readonly subject: string
    /** Empty if a proxy terminated TLS, because the proxy reports only the name. */
    readonly issuer: string
    /** Object identifiers of the extended key usage, sorted. */
    readonly purposes: string
  }
}

export function toSeen(socket: TLSSocket, refusal: Refusal | undefined): SeenCertificate {
  const certificate = socket.getPeerX509Certificate()
  const result = refusal?.reason ?? 'OK'
  if (certificate === undefined) return { result }
  const { subject, issuer } = certificate
  // `keyUsage` is the extended key usage. Unlike in Node's types, it is undefined in a certificate
  // without one.
  const usages = certificate.keyUsage as readonly string[] | undefined
  const commonName = commonNameOf(socket)
  return {
    result,
    shown: {
      ...(commonName === undefined ? {} : { commonName }),
      ...{ subject, issuer, purposes: [...(usages ?? [])].sort().join(' ') },
    },
  }
}

export interface CertificateChange {
  readonly field: 'issuer' | 'purpose' | 'name'
  readonly subject: string
  readonly before: string
  readonly now: string
}

/**
 * Results for a name that enforcing mTLS would not accept, from a handshake or a terminator's
 * header.
 */
const WRONG_NAMES: readonly string[] = ['WRONG_SUBJECT', 'FORWARDED_SUBJECT']
/**
 * Maximum number of remembered names, which exceeds the number of KMS regions. Only clients with a
 * valid signature are remembered, so strangers cannot reach this limit.
 */
const MAX_NAMES = 200

/**
 * Reports a client with a valid signature if its certificate differs in issuer, purpose or
 * distinguished name from the last certificate with the same common name, or has a name that
 * enforcing mTLS would not accept. The first certificate that a process sees is only remembered.
 */
export function createCertificateWatch(
  onChange: (change: CertificateChange) => void,
): (seen: SeenCertificate) => void {
  const known = new Map<string, NonNullable<SeenCertificate['shown']>>()
  return ({ result, shown }) => {
    if (shown === undefined) return
    const { subject } = shown
    // A terminator reports less of a certificate than a handshake shows, so the two are not compared.
    const key = `${shown.issuer === '' ? 'forwarded' : 'shown'} ${shown.commonName ?? subject}`
    const last = known.get(key)
    if (last === undefined) {
      if (known.size >= MAX_NAMES) return
      known.set(key, shown)
      if (WRONG_NAMES.includes(result))
        onChange({ field: 'name', subject, before: '', now: subject })
      return
    }
    known.set(key, shown)
    if (last.subject !== subject)
      onChange({ field: 'name', subject, before: last.subject, now: subject })
    if (last.issuer !== shown.issuer)
      onChange({ field: 'issuer', subject, before: last.issuer, now: shown.issuer })
    if (last.purposes !== shown.purposes)
      onChange({ field: 'purpose', subject, before: last.purposes, now: shown.purposes })
  }
}

/** Returns undefined if there is more than one common name, rather than guess which one to use. */
export function commonNameOf(socket: TLSSocket): string | undefined {
  // Several common names arrive as an array.
  const commonName: unknown = socket.getPeerCertificate().subject.CN
  return typeof commonName === 'string' ? commonName : undefined
}

/** Node's types declare an Error, but at run time the value is OpenSSL's name for the failure. */
export function toReason(authorizationError: unknown): string {
  if (typeof authorizationError === 'string') return authorizationError
  return authorizationError instanceof Error ? authorizationError.message : 'NOT_AUTHORIZED'
}
