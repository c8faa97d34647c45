/** The baseline for HTTP/2: a node:http2 server that reads the body and responds with fixed bytes. */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import http2 from 'node:http2'
import type { AddressInfo } from 'node:net'
import { FIXED_BODY } from './fixed-body.ts'

const [certificateFile = '', privateKeyFile = ''] = process.argv.slice(2)

const server = http2.createSecureServer({
  cert: readFileSync(certificateFile),
  key: readFileSync(privateKeyFile),
})
server.on('stream', (stream) => {
  stream.on('end', () => {
    stream.respond({
      ':status': 200,
      'content-type': 'application/json',
      'content-length': FIXED_BODY.length,
    })
    stream.end(FIXED_BODY)
  })
  stream.on('error', () => undefined)
  stream.resume()
})
server.on('session', (session) => session.on('error', () => undefined))
server.listen(0, '127.0.0.1', () => {
  process.send?.({ port: (server.address() as AddressInfo).port })
})
process.once('disconnect', () => process.exit(0))
