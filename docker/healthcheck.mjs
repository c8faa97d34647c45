// Queries the plain ping port, like a load balancer: exits with 0 while the proxy serves, and with 1 while it drains or is
// down. Needs listener.ping in latchkey.yaml. LATCHKEY_PING_PORT overrides port 8080, LATCHKEY_PING_HOST the host.
// SPDX-License-Identifier: Apache-2.0
import http from 'node:http'

const port = Number(process.env.LATCHKEY_PING_PORT ?? 8080)
const host = process.env.LATCHKEY_PING_HOST ?? '127.0.0.1'
const request = http.get({ host, port, path: '/ping', timeout: 2000 }, (response) => {
  process.exitCode = response.statusCode === 200 ? 0 : 1
  response.resume()
})
request.on('timeout', () => request.destroy(new Error('no answer within 2 s')))
request.on('error', (error) => {
  process.stderr.write(`${error.message}\n`)
  process.exitCode = 1
})
