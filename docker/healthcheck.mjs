// Asks the plain ping port, as a load balancer does: exit 0 while the proxy serves, 1 while it drains or is down.
// Needs listener.ping in latchkey.yaml; LATCHKEY_PING_PORT names another port than 8080, LATCHKEY_PING_HOST another host.
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
