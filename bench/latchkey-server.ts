/** Runs the proxy as `latchkey serve` does, with its log in a file. */
// SPDX-License-Identifier: Apache-2.0
import { startServer } from '../src/app/server.ts'
import { loadConfig } from '../src/config/load.ts'

const [configFile = '', logFile = '', certificate, privateKey] = process.argv.slice(2)
const config = await loadConfig(configFile)
// The bare server does not close connections after a number of requests, so this one must not either.
const tls =
  certificate === undefined || privateKey === undefined
    ? config.listener.tls
    : { ...config.listener.tls, certificate, privateKey }
const listener = { ...config.listener, tls, maxRequestsPerConnection: 0 }
const server = await startServer({ ...config, listener }, { logFile })
process.send?.({ port: server.xks.port })
process.once('disconnect', () => {
  void server.stop().then(() => process.exit(0))
})
