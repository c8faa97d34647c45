/** The proxy as `latchkey serve` runs it, with its log going to a file. */
// SPDX-License-Identifier: Apache-2.0
import { startServer } from '../src/compose.ts'
import { loadConfig } from '../src/config/load.ts'

const [configFile = '', logFile = ''] = process.argv.slice(2)
const config = await loadConfig(configFile)
const server = await startServer(config, { logFile })
process.send?.({ port: server.xks.port })
process.once('disconnect', () => {
  void server.stop().then(() => process.exit(0))
})
