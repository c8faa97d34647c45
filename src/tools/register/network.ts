/**
 * Connects to AWS across an operator's network: HTTPS_PROXY, NO_PROXY and AWS_CA_BUNDLE, as the AWS
 * CLI supports them.
 */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import http from 'node:http'
import https from 'node:https'
import { Duplex } from 'node:stream'
import tls from 'node:tls'
import { UsageError } from '../../terminal/command.ts'

const CONNECT_TIMEOUT_MS = 5000

/**
 * Returns the agent for connections to AWS.
 * @throws UsageError for a proxy that is not a URL; a system error for a bundle that cannot be read
 */
export async function createAwsAgent(environment: NodeJS.ProcessEnv): Promise<https.Agent> {
  const bundle = environment['AWS_CA_BUNDLE'] ?? ''
  const ca = bundle === '' ? {} : { ca: await readFile(bundle) }
  const options = { ...ca, keepAlive: true, maxSockets: 50 }
  const proxy = parseProxy(environment['https_proxy'] ?? environment['HTTPS_PROXY'] ?? '')
  if (proxy === undefined) return new https.Agent(options)
  return new ProxyAgent(proxy, environment['no_proxy'] ?? environment['NO_PROXY'] ?? '', options)
}

/** A proxy may come without a scheme, as `proxy.example.com:3128`. Its URL may contain a password, so it is never shown. */
function parseProxy(text: string): URL | undefined {
  if (text === '') return undefined
  const url = text.includes('://') ? text : `http://${text}`
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  if (parsed?.protocol === 'http:' || parsed?.protocol === 'https:') return parsed
  throw new UsageError('USAGE', 'HTTPS_PROXY: expected http://host:port or https://host:port')
}

/**
 * Reports whether NO_PROXY exempts a host: `*` matches every host, a name matches itself and its
 * subdomains, with or without a leading period, and `:port` restricts an entry. Pure function.
 */
export function isDirect(host: string, port: number, noProxy: string): boolean {
  const name = host.toLowerCase()
  return noProxy.split(/[\s,]+/).some((entry) => {
    const [, pattern = '', own] = /^\*?\.?(.*?)(?::(\d+))?$/.exec(entry.toLowerCase()) ?? []
    if (entry === '*') return true
    if (pattern === '' || (own !== undefined && Number(own) !== port)) return false
    return name === pattern || name.endsWith(`.${pattern}`)
  })
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

/** Node.js ignores the socket passed with an error, but its types require one. */
const NO_SOCKET = new Duplex()

/**
 * Connects through a tunnel (RFC 9110, 9.3.6). TLS runs end to end with AWS, so the proxy sees only
 * the host name.
 */
class ProxyAgent extends https.Agent {
  readonly #proxy: URL
  readonly #noProxy: string

  constructor(proxy: URL, noProxy: string, options: https.AgentOptions) {
    super(options)
    this.#proxy = proxy
    this.#noProxy = noProxy
  }

  override createConnection(
    options: https.RequestOptions,
    callback?: Connected,
  ): Duplex | null | undefined {
    const host = options.host ?? ''
    const port = Number(options.port ?? 443)
    if (isDirect(host, port, this.#noProxy)) return super.createConnection(options, callback)
    const { protocol, hostname, port: proxyPort, username, password } = this.#proxy
    const login = Buffer.from(`${decode(username)}:${decode(password)}`).toString('base64')
    const target = `${host}:${String(port)}`
    const request = (protocol === 'https:' ? https : http).request({
      ...{
        host: hostname.replace(/^\[|\]$/g, ''),
        method: 'CONNECT',
        path: target,
        timeout: CONNECT_TIMEOUT_MS,
      },
      port: proxyPort === '' ? (protocol === 'https:' ? 443 : 80) : proxyPort,
      headers: {
        host: target,
        ...(username === '' ? {} : { 'proxy-authorization': `Basic ${login}` }),
      },
    })
    request.once('connect', (response, socket) => {
      if (response.statusCode === 200) {
        const servername = options.servername ?? host
        callback?.(null, tls.connect({ ...(options as tls.ConnectionOptions), socket, servername }))
        return
      }
      socket.destroy()
      const status = String(response.statusCode)
      callback?.(new Error(`the proxy of HTTPS_PROXY answered ${status}`), NO_SOCKET)
    })
    request.once('timeout', () => {
      request.destroy(new Error('the proxy of HTTPS_PROXY does not answer'))
    })
    request.once('error', (error) => {
      callback?.(error, NO_SOCKET)
    })
    request.end()
    return undefined
  }
}
