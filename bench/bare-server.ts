/**
 * The baseline: a node:https server that reads the body and sends a fixed response of the same length as an Encrypt
 * response.
 */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { FIXED_BODY } from './fixed-body.ts'

const [certificateFile = '', privateKeyFile = ''] = process.argv.slice(2)

const server = https.createServer(
  {
    cert: readFileSync(certificateFile),
    key: readFileSync(privateKeyFile),
    keepAliveTimeout: 400_000,
  },
  (request, response) => {
    request.on('end', () => {
      response.writeHead(200, {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(FIXED_BODY),
      })
      response.end(FIXED_BODY)
    })
    request.resume()
  },
)
server.listen(0, '127.0.0.1', () => {
  process.send?.({ port: (server.address() as AddressInfo).port })
})
process.once('disconnect', () => process.exit(0))
