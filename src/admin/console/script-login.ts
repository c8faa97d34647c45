/**
 * The part of the console's script that logs a person in at the identity provider (authorization
 * code flow with PKCE, RFC 7636). Tokens are in memory only. Login leaves the page, so the state,
 * nonce and verifier are kept in sessionStorage until the redirect back. They are useless without
 * the code.
 */
// SPDX-License-Identifier: Apache-2.0

export const LOGIN_SCRIPT = `
const LOGIN_KEY = 'latchkey-login'
const LOGIN_PATH = '/admin/v1/login/browser'
const toBase64Url = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
const random = () => toBase64Url(crypto.getRandomValues(new Uint8Array(32)))
const redirectUri = () => location.origin + '/console'

async function beginLogin() {
  const { authorizationEndpoint, clientId, scope } = await (await call('GET', LOGIN_PATH)).json()
  const kept = { state: random(), nonce: random(), verifier: random(), view: location.hash }
  const challenge = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(kept.verifier))
  const url = new URL(authorizationEndpoint)
  const parameters = {
    response_type: 'code', client_id: clientId, redirect_uri: redirectUri(), scope,
    state: kept.state, nonce: kept.nonce,
    code_challenge: toBase64Url(new Uint8Array(challenge)), code_challenge_method: 'S256',
    // OpenID Connect Core, 11: offline access needs consent.
    ...(scope.split(' ').includes('offline_access') ? { prompt: 'consent' } : {}),
  }
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value)
  sessionStorage.setItem(LOGIN_KEY, JSON.stringify(kept))
  location.assign(url)
}

/** Redeems the code with which the provider sent the browser back, and removes it from the address. */
async function finishLogin() {
  const answer = new URLSearchParams(location.search)
  if (!answer.has('state')) return
  const kept = JSON.parse(sessionStorage.getItem(LOGIN_KEY) ?? '{}')
  sessionStorage.removeItem(LOGIN_KEY)
  history.replaceState(undefined, '', '/console' + (kept.view ?? ''))
  state.hasTried = true
  try {
    // Another page could otherwise log this person in as somebody else.
    if (kept.state !== answer.get('state')) throw new Error('this login was not started in this tab; log in again')
    const code = answer.get('code')
    if (code === null) throw new Error('the identity provider refused the login: ' + (answer.get('error_description') ?? answer.get('error')))
    const body = { code, verifier: kept.verifier, redirectUri: redirectUri() }
    const session = await (await call('POST', LOGIN_PATH, body, true)).json()
    if (readClaims(session.token).nonce !== kept.nonce) throw new Error('the identity provider responded to a different login; log in again')
    keepSession(session)
  } catch (error) {
    state.loginError = error
  }
}

function readClaims(token) {
  const text = atob((token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/'))
  return JSON.parse(text)
}

function keepSession({ token, refreshToken }) {
  state.token = token
  // A provider need not return another one.
  state.refreshToken = refreshToken ?? state.refreshToken
}

/** Gets another token once the last one has expired. Calls that fail together share one renewal. */
async function renewSession() {
  const { refreshToken } = state
  if (refreshToken === undefined) return false
  state.renewing ??= call('POST', LOGIN_PATH, { refreshToken }, true)
    .then((response) => response.json())
    // A session that ended in the meantime stays ended.
    .then((session) => state.refreshToken === refreshToken && (keepSession(session), true), () => false)
    .finally(() => (state.renewing = undefined))
  return state.renewing
}

$('log-in')?.addEventListener('click', () => { beginLogin().catch(fail) })
`
