/**
 * Sends HTTPS through an operator's proxy. Reads HTTPS_PROXY and NO_PROXY as curl and the AWS CLI
 * do. TLS is end to end, so the proxy sees only host names.
 */
// SPDX-License-Identifier: Apache-2.0
import http from 'node:http'
import https from 'node:https'
import { isIP, isIPv6 } from 'node:net'
import { Duplex } from 'node:stream'
import tls from 'node:tls'
import { LatchkeyError } from './errors.ts'

/** Timeout for the proxy's complete response, even if bytes keep arriving. */
const CONNECT_TIMEOUT_MS = 5000

export class ProxyError extends LatchkeyError<'PROXY_INVALID'> {
  override readonly name = 'ProxyError'
}

export interface Proxy {
  readonly url: URL
  /** Hosts to connect to without a proxy, in the format of NO_PROXY. */
  readonly except: string
}

/**
 * Returns the proxy that the environment variables name; undefined if they name none. Lower-case
 * names take precedence.
 * @throws ProxyError
 */
export function readProxy(environment: NodeJS.ProcessEnv): Proxy | undefined {
  const url = parseProxy(environment['https_proxy'] ?? environment['HTTPS_PROXY'] ?? '')
  if (url === undefined) return undefined
  return { url, except: environment['no_proxy'] ?? environment['NO_PROXY'] ?? '' }
}

/**
 * The proxy may be given without a scheme, as `proxy.example.com:3128`. The URL may contain a
 * password, so it is never shown.
 */
function parseProxy(text: string): URL | undefined {
  if (text === '') return undefined
  const url = text.includes('://') ? text : `http://${text}`
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  if (parsed?.protocol === 'http:' || parsed?.protocol === 'https:') return parsed
  const message = 'HTTPS_PROXY: expected http://host:port or https://host:port'
  throw new ProxyError('PROXY_INVALID', message)
}

/**
 * @param proxy proxy to use; undefined to connect directly
 * @param connectTimeoutMs deadline for the proxy's response
 */
export function createHttpsAgent(
  proxy: Proxy | undefined,
  options: https.AgentOptions,
  connectTimeoutMs = CONNECT_TIMEOUT_MS,
): https.Agent {
  return proxy === undefined
    ? new https.Agent(options)
    : new ProxyAgent(proxy, options, connectTimeoutMs)
}

/**
 * Reports whether NO_PROXY exempts a host. `*` matches every host. A name matches itself and its
 * subdomains, with or without a leading period. An address matches only itself. `:port` restricts
 * an entry. An IPv6 address may have brackets, and needs them before a port. Pure function.
 */
export function isDirect(host: string, port: number, noProxy: string): boolean {
  const name = toName(host)
  return noProxy.split(/[\s,]+/).some((entry) => {
    if (entry === '*') return true
    const [, text = '', own] = isIPv6(entry)
      ? ['', entry]
      : (/^\*?\.?(.*?)(?::(\d+))?$/.exec(entry) ?? [])
    const pattern = toName(text)
    if (pattern === '' || (own !== undefined && Number(own) !== port)) return false
    return name === pattern || (isIP(name) === 0 && name.endsWith(`.${pattern}`))
  })
}

/** Returns a host in lower case, and an IPv6 address in its shortest form and without brackets. */
function toName(host: string): string {
  const name = host.toLowerCase().replace(/^\[(.*)\]$/, '$1')
  const url = `http://[${name}]`
  return isIPv6(name) && URL.canParse(url) ? new URL(url).hostname.slice(1, -1) : name
}

/** A password with a bare `%` is not percent-encoded, so it is used unchanged. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

type Connected = (error: Error | null, socket: Duplex) => void

/** Node.js ignores the socket that is passed with an error, but its types require one. */
const NO_SOCKET = new Duplex()

/** Connects through a tunnel (RFC 9110, 9.3.6). */
class ProxyAgent extends https.Agent {
  readonly #proxy: Proxy
  readonly #connectTimeoutMs: number

  constructor(proxy: Proxy, options: https.AgentOptions, connectTimeoutMs: number) {
    super(options)
    this.#proxy = proxy
    this.#connectTimeoutMs = connectTimeoutMs
  }

  override createConnection(
    options: https.RequestOptions,
    callback?: Connected,
  ): Duplex | null | undefined {
    const host = options.host ?? ''
    const port = Number(options.port ?? 443)
    const { url, except } = this.#proxy
    if (isDirect(host, port, except)) return super.createConnection(options, callback)
    const { protocol, hostname, port: proxyPort, username, password } = url
    const login = Buffer.from(`${decode(username)}:${decode(password)}`).toString('base64')
    const name = toName(host)
    const target = `${isIPv6(name) ? `[${name}]` : name}:${String(port)}`
    const request = (protocol === 'https:' ? https : http).request({
      ...{ host: hostname.replace(/^\[|\]$/g, ''), method: 'CONNECT', path: target },
      port: proxyPort === '' ? (protocol === 'https:' ? 443 : 80) : proxyPort,
      headers: {
        host: target,
        ...(username === '' ? {} : { 'proxy-authorization': `Basic ${login}` }),
      },
    })
    const deadline = AbortSignal.timeout(this.#connectTimeoutMs)
    const giveUp = () => {
      request.destroy(new Error('the proxy in HTTPS_PROXY did not respond in time'))
    }
    deadline.addEventListener('abort', giveUp, { once: true })
    request.once('connect', (response, socket) => {
      deadline.removeEventListener('abort', giveUp)
      if (response.statusCode === 200) {
        const servername = options.servername ?? host
        callback?.(null, tls.connect({ ...(options as tls.ConnectionOptions), socket, servername }))
        return
      }
      socket.destroy()
      const status = String(response.statusCode)
      callback?.(new Error(`the proxy in HTTPS_PROXY responded with status ${status}`), NO_SOCKET)
    })
    request.once('error', (error) => {
      callback?.(error, NO_SOCKET)
    })
    request.end()
    return undefined
  }
}
