/** mTLS that ended before us: what a named terminator says of its client's certificate, in a header. */
// SPDX-License-Identifier: Apache-2.0
import type { ForwardedByConfig } from '../../config/config.ts'
import { XksError } from '../../xks/errors.ts'
import { parseCommonName } from './distinguished-name.ts'
import { parseXfccSubject } from './xfcc.ts'

/** $ssl_client_verify of nginx, and ssl_c_verify of HAProxy: the chain is good, as is all else. */
const VERIFIED: readonly string[] = ['SUCCESS', '0']

/** Why a request was refused; for the log. */
type ForwardedErrorCode =
  | 'FORWARDED_BY_STRANGER' // the header, on a connection that is not from a named terminator
  | 'FORWARDED_MISSING' // a named terminator's request without it
  | 'FORWARDED_UNREADABLE' // it is there twice, or is not in its form
  | 'FORWARDED_UNVERIFIED' // the terminator does not say that it verified the certificate
  | 'FORWARDED_SUBJECT' // the common name is none of those that may call

/** @returns the refusal; undefined where the request may go on to its signature */
export type CheckForwarded = (
  rawHeaders: readonly string[],
  isFromTerminator: boolean,
) => XksError | undefined

/**
 * The same rule as for a certificate that is shown to us (XKS 1.0.3, Authentication): one common name, compared
 * whole. Everybody else's certificate was judged in their handshake, so from them the header can only be a lie.
 * @param subjects common names that may call
 */
export function createCheckForwarded(
  config: ForwardedByConfig,
  subjects: readonly string[],
): CheckForwarded {
  return (rawHeaders, isFromTerminator) => {
    const reason = findFault(config, subjects, rawHeaders, isFromTerminator)
    if (reason === undefined) return undefined
    return new XksError(
      'AuthenticationFailedException',
      'The request does not come with the client certificate that is asked for.',
      { reason },
    )
  }
}

function findFault(
  { header, format, verifyHeader }: ForwardedByConfig,
  subjects: readonly string[],
  rawHeaders: readonly string[],
  isFromTerminator: boolean,
): ForwardedErrorCode | undefined {
  const values = valuesOf(rawHeaders, header)
  const [value] = values
  if (!isFromTerminator) return value === undefined ? undefined : 'FORWARDED_BY_STRANGER'
  if (value === undefined) return 'FORWARDED_MISSING'
  if (values.length > 1) return 'FORWARDED_UNREADABLE'
  if (verifyHeader !== undefined) {
    const [verdict = '', ...others] = valuesOf(rawHeaders, verifyHeader)
    if (others.length > 0 || !VERIFIED.includes(verdict)) return 'FORWARDED_UNVERIFIED'
  }
  const subject = format === 'xfcc' ? parseXfccSubject(value) : value
  const commonName = subject === undefined ? undefined : parseCommonName(subject)
  if (commonName === undefined) return 'FORWARDED_UNREADABLE'
  return subjects.includes(commonName) ? undefined : 'FORWARDED_SUBJECT'
}

/** @param name in small letters */
function valuesOf(rawHeaders: readonly string[], name: string): string[] {
  const values: string[] = []
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    if (rawHeaders[i]?.toLowerCase() === name) values.push(rawHeaders[i + 1] ?? '')
  }
  return values
}
