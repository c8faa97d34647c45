/**
 * Blocks this host immediately, without the database or the admin listener. The host is blocked
 * while a sentinel file exists; a signal creates the file.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Logger } from '../../core/logger.ts'
import { periodic, type Periodic } from '../../core/periodic.ts'
import { watch, type FSWatcher } from 'node:fs'
import { lstat, open } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import type { GateControl } from '../gate/gate.ts'

export interface LocalBlock {
  /** Resolves after it has checked for the file once. */
  start(): Promise<void>
  stop(): Promise<void>
  /**
   * Handles SIGUSR2: refuses all requests from now on, and creates the sentinel file, so that the
   * block survives a restart.
   */
  block(): Promise<void>
}

export interface LocalBlockDeps {
  readonly path: string
  readonly gate: GateControl
  readonly intervalMs: number
  readonly cutRevoked: () => Promise<void>
  readonly logger: Logger
}

export function createLocalBlock(deps: LocalBlockDeps): LocalBlock {
  const { path, gate } = deps
  let isBlocked = false
  let looking: Periodic | undefined
  let watcher: FSWatcher | undefined

  async function lookOnce(): Promise<void> {
    const problem = await lstat(path).then(
      () => 'PRESENT',
      (error: unknown) => (error as NodeJS.ErrnoException).code ?? 'UNKNOWN',
    )
    // A path that cannot be read may hide the file, so it counts as a block.
    const present = problem !== 'ENOENT' && problem !== 'ENOTDIR'
    if (present) gate.refuse('SENTINEL')
    else gate.accept('SENTINEL')
    if (present === isBlocked) return
    isBlocked = present
    if (present) {
      deps.logger.warn('the sentinel file blocks this instance', { path, problem })
      await deps.cutRevoked()
    } else {
      // Removing the file also ends the block by the signal that created it.
      gate.accept('SIGNAL')
      deps.logger.warn('the sentinel file was removed; it no longer blocks this instance', {
        path,
      })
    }
  }

  function watchFolder(): void {
    try {
      watcher = watch(dirname(path), { persistent: false }, (_event, name) => {
        if (name === null || name === basename(path)) void looking?.runNow()
      })
      watcher.on('error', () => watcher?.close())
    } catch {
      // The folder does not exist yet, or cannot be watched. The check at every interval still
      // works.
    }
  }

  return {
    async start() {
      watchFolder()
      // Checks never overlap, so an older result cannot overwrite a newer one.
      looking = periodic({
        intervalMs: deps.intervalMs,
        work: lookOnce,
        onError: (error) => {
          deps.logger.error('could not check the sentinel file', { path, err: error })
        },
      })
      await looking.runNow()
    },
    stop() {
      watcher?.close()
      return looking?.stop() ?? Promise.resolve()
    },
    async block() {
      gate.refuse('SIGNAL')
      deps.logger.warn('blocked by a signal', { path })
      try {
        await (await open(path, 'wx', 0o600)).close()
      } catch (error) {
        // Anything that already exists at this path blocks the host, even a link: lookOnce does not
        // follow links either.
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
          deps.logger.warn(
            'cannot create the sentinel file; the block ends when this process exits',
            {
              path,
              err: error,
            },
          )
        }
      }
      await deps.cutRevoked()
    },
  }
}
