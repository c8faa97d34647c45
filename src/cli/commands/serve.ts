/** Implements `latchkey serve`. */
// SPDX-License-Identifier: Apache-2.0
import { startService, type RunningService } from '../../app/cluster.ts'
import { createConfigReload } from '../../app/reload.ts'
import { CONFIG_FLAG, loadServedConfig, type Command } from '../../terminal/command.ts'
import { EXIT_CODES } from '../exit-codes.ts'
import type { Output } from '../../terminal/output.ts'

export const serve: Command = {
  flags: CONFIG_FLAG,
  examples: [
    'latchkey serve --config /etc/latchkey/latchkey.yaml',
    'kill -HUP $(pgrep -of "latchkey serve")   # reload configuration and certificates',
    'kill -USR2 $(pgrep -of "latchkey serve")  # refuse everything on this host, now',
  ],
  async run(context) {
    const load = () => loadServedConfig(context)
    const first = await load()
    const server = await startService(first.config)
    await untilStopped(server, context.output, createConfigReload(server, first, load))
  },
}

/**
 * Resolves when the server has drained after a signal. A second signal makes the process exit at
 * once.
 */
export function untilStopped(
  server: RunningService,
  output: Output,
  onReload: () => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  process.on('SIGHUP', () => {
    // The reason is logged, and the old certificate stays in use.
    server.reloadCertificates().catch(output.error)
    onReload().catch(output.error)
  })
  return new Promise((resolve, reject) => {
    let stopping = false
    const stop = () => {
      if (stopping) process.exit(EXIT_CODES.failed.code)
      stopping = true
      server.stop().then(resolve, reject)
    }
    process.on('SIGTERM', stop)
    process.on('SIGINT', stop)
  })
}
