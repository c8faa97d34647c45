/** `latchkey serve` */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import { startService, type RunningService } from '../../app/cluster.ts'
import { CONFIG_FLAG, configPath, loadContextConfig, type Command } from '../../terminal/command.ts'
import { EXIT_CODES } from '../exit-codes.ts'
import type { Output } from '../../terminal/output.ts'

export const serve: Command = {
  flags: CONFIG_FLAG,
  examples: [
    'latchkey serve --config /etc/latchkey/latchkey.yaml',
    'kill -HUP $(pgrep -of "latchkey serve")   # reload certificates now',
    'kill -USR2 $(pgrep -of "latchkey serve")  # refuse everything on this host, now',
  ],
  async run(context) {
    const file = configPath(context)
    const isChanged = await watchFile(file)
    const server = await startService(await loadContextConfig(context))
    await untilStopped(server, context.output, async () => {
      if (await isChanged())
        context.output.note(`${file} differs from the configuration in use; restart to use it`)
    })
  },
}

/** Returns whether the contents of a file differ from those at this time. A missing file differs. */
async function watchFile(file: string): Promise<() => Promise<boolean>> {
  const read = () => readFile(file, 'utf8').catch(() => undefined)
  const before = await read()
  return async () => (await read()) !== before
}

/** Resolves when the server has drained after a signal. A second signal exits at once. */
export function untilStopped(
  server: RunningService,
  output: Output,
  onReload: () => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  process.on('SIGHUP', () => {
    // The reason is in the log; the old certificate stays in use.
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
