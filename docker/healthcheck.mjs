// Queries the plain ping port, as a load balancer does. Exits with 0 while the proxy is serving, and with 1 while it is
// draining or down. Requires listener.ping in latchkey.yaml. LATCHKEY_PING_PORT overrides port 8080, and
// LATCHKEY_PING_HOST overrides the host.
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
