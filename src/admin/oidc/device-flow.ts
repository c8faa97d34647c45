/**
 * Implements the device flow (RFC 8628): a person confirms a code in a browser, and the command
 * gets a token.
 */
// SPDX-License-Identifier: Apache-2.0
import { systemClock as clock } from '../../core/clock.ts'
import { pause } from '../../core/deadline.ts'
import { Secret } from '../../core/secret.ts'
import { LoginError, createIssuerHttp, discover, parseObject } from './issuer.ts'

export interface LoginSettings {
  readonly issuer: string
  readonly clientId: string
  readonly scope: string
}

const GRANT = 'urn:ietf:params:oauth:grant-type:device_code'
/**
 * The default polling interval (RFC 8628, 3.2), and its increment after `slow_down` (RFC 8628,
 * 3.5).
 */
const INTERVAL_MS = 5000

/**
 * @param ca PEM text of authorities to trust for the issuer
 * @param tell receives the address to open and the code to confirm
 * @throws LoginError
 */
export async function logIn(
  { issuer, clientId, scope }: LoginSettings,
  ca: string | undefined,
  tell: (uri: string, userCode: string) => void,
): Promise<Secret> {
  const http = createIssuerHttp(ca)
  const { deviceEndpoint, tokenEndpoint } = await discover(http, issuer)
  if (deviceEndpoint === undefined) {
    throw new LoginError('LOGIN_REFUSED', `${issuer} does not support the device flow`)
  }
  const begun = parseObject((await http.post(deviceEndpoint, { client_id: clientId, scope })).text)
  const { device_code: code, user_code: userCode, verification_uri: plain } = begun
  const uri = begun['verification_uri_complete'] ?? plain
  if (typeof code !== 'string' || typeof userCode !== 'string' || typeof uri !== 'string') {
    throw refused(begun)
  }
  tell(uri, userCode)
  const endsAt = clock.monotonic() + toMs(begun['expires_in'], 600_000)
  let intervalMs = toMs(begun['interval'], INTERVAL_MS)
  while (clock.monotonic() < endsAt) {
    await pause(intervalMs)
    const form = { grant_type: GRANT, device_code: code, client_id: clientId }
    const answer = parseObject((await http.post(tokenEndpoint, form)).text)
    const { id_token: token, error } = answer
    if (typeof token === 'string') return new Secret(token)
    if (error === 'slow_down') intervalMs += INTERVAL_MS
    else if (error !== 'authorization_pending') throw refused(answer)
  }
  throw new LoginError('LOGIN_REFUSED', 'the login code was not confirmed in time')
}

function toMs(seconds: unknown, otherwiseMs: number): number {
  return typeof seconds === 'number' && seconds > 0 ? seconds * 1000 : otherwiseMs
}

function refused({ error, error_description: detail }: Readonly<Record<string, unknown>>) {
  const words = [error, detail].filter((part) => typeof part === 'string')
  const what = words.length === 0 ? 'no reason given' : words.join(': ')
  return new LoginError('LOGIN_REFUSED', `the identity provider refused the login: ${what}`)
}
