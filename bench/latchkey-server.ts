/** The proxy as `latchkey serve` runs it, with its log going to a file. */
// SPDX-License-Identifier: Apache-2.0
import { startServer } from '../src/compose.ts'
import { loadConfig } from '../src/config/load.ts'

const [configFile = '', logFile = ''] = process.argv.slice(2)
const config = await loadConfig(configFile)
// The bare server does not end connections after some requests, so this one must not either.
const listener = { ...config.listener, maxRequestsPerConnection: 0 }
const server = await startServer({ ...config, listener }, { logFile })
process.send?.({ port: server.xks.port })
process.once('disconnect', () => {
  void server.stop().then(() => process.exit(0))
})
