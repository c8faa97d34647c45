/** The client for new connections and for HTTP/2. It counts the exchanges that complete in a given period. */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import http2 from 'node:http2'
import https from 'node:https'
import type { WidePlan } from './clients.ts'

type Send = (request: Request) => Promise<number>

interface Request {
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** Parses a request written for the keep-alive HTTP/1.1 client. */
function parse(text: string): Request {
  const [head = '', body = ''] = text.split('\r\n\r\n')
  const [line = '', ...fields] = head.split('\r\n')
  return {
    path: line.split(' ')[1] ?? '',
    headers: Object.fromEntries(
      fields.map((field) => {
        const colon = field.indexOf(': ')
        return [field.slice(0, colon).toLowerCase(), field.slice(colon + 2)]
      }),
    ),
    body,
  }
}

function overHttp1(plan: WidePlan, ca: Buffer): Send {
  // The keep-alive client handles local servers; this client keeps connections alive only for a remote peer.
  const agent = new https.Agent({
    keepAlive: plan.connectionKind === 'kept',
    maxSockets: plan.connections,
    // Every connection makes a full handshake, because KMS's many hosts do not share sessions.
    maxCachedSessions: 0,
  })
  return ({ path, headers, body }) =>
    new Promise((resolve, reject) => {
      const { host, port } = plan
      const servername = (headers['host'] ?? '').replace(/:\d+$/, '')
      const request = https.request(
        { agent, host, port, servername, ca, path, headers, method: 'POST' },
        (response) => {
          response.resume()
          response.once('error', reject)
          response.once('end', () => {
            resolve(response.statusCode ?? 0)
          })
        },
      )
      request.once('error', reject)
      request.end(body)
    })
}

function openSession(plan: WidePlan, ca: Buffer): http2.ClientHttp2Session {
  const session = http2.connect(`https://${plan.host}:${String(plan.port)}`, {
    ca,
    servername: 'localhost',
  })
  session.on('error', () => undefined)
  return session
}

function over(
  session: http2.ClientHttp2Session,
  { path, headers, body }: Request,
): Promise<number> {
  return new Promise((resolve, reject) => {
    const { host = '', ...rest } = headers
    const stream = session.request({
      ':method': 'POST',
      ':path': path,
      ':authority': host,
      ...rest,
    })
    let status = 0
    stream.once('response', (answer) => (status = answer[':status'] ?? 0))
    stream.once('error', reject)
    stream.once('end', () => {
      resolve(status)
    })
    stream.resume()
    stream.end(body)
  })
}

function overHttp2(plan: WidePlan, ca: Buffer): Send {
  if (plan.connectionKind === 'new') {
    return async (request) => {
      const session = openSession(plan, ca)
      const status = await over(session, request)
      session.destroy()
      return status
    }
  }
  const sessions = Array.from({ length: Math.ceil(plan.connections / 8) }, () =>
    openSession(plan, ca),
  )
  let next = 0
  return (request) => {
    const session = sessions[next++ % sessions.length]
    if (session === undefined) throw new TypeError('there is no session')
    return over(session, request)
  }
}

async function run(plan: WidePlan): Promise<number> {
  const ca = readFileSync(plan.caFile)
  const requests = plan.requests.map(parse)
  const send = plan.transport === 'h2' ? overHttp2(plan, ca) : overHttp1(plan, ca)
  let next = 0
  let answers = 0
  let running = true
  // This client never sleeps, because waking it would cost the server processor time; see load.ts.
  const spin = () => {
    if (running) setImmediate(spin)
  }
  spin()
  const startedAt = performance.now()
  const stop = setTimeout(() => {
    running = false
  }, plan.seconds * 1000)
  const turn = async () => {
    while (running) {
      const request = requests[next++ % requests.length]
      if (request === undefined) return
      const status = await send(request)
      if (status !== 200) throw new Error(`the response had status ${String(status)}`)
      answers += 1
    }
  }
  await Promise.all(Array.from({ length: plan.connections }, turn))
  clearTimeout(stop)
  return answers / ((performance.now() - startedAt) / 1000)
}

process.once('message', (plan) => {
  run(plan as WidePlan).then(
    (rate) => process.send?.({ rate }, () => process.exit(0)),
    (error: unknown) => process.send?.({ error: String(error) }, () => process.exit(1)),
  )
})
