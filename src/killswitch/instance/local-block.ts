/**
 * Blocks this host at once, with no database and no admin listener: a sentinel file whose presence is
 * the block, and a signal that makes it.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Logger } from '../../core/logger.ts'
import { periodic, type Periodic } from '../../core/periodic.ts'
import { watch, type FSWatcher } from 'node:fs'
import { lstat, open } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import type { GateControl } from '../gate/gate.ts'

export interface LocalBlock {
  /** Looks once before it resolves. */
  start(): Promise<void>
  stop(): Promise<void>
  /** What SIGUSR2 does: refuses from now on, and makes the sentinel file, so that a restart refuses too. */
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
    // A path that cannot be looked at may hide the file: that counts as a block.
    const present = problem !== 'ENOENT' && problem !== 'ENOTDIR'
    if (present) gate.refuse('SENTINEL')
    else gate.accept('SENTINEL')
    if (present === isBlocked) return
    isBlocked = present
    if (present) {
      deps.logger.warn('the sentinel file blocks this instance', { path, problem })
      await deps.cutRevoked()
    } else {
      // Whoever removes the file takes back the signal that made it.
      gate.accept('SIGNAL')
      deps.logger.warn('the sentinel file is gone: this instance is not blocked by it any more', {
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
      // No folder yet, or no more watches to be had: looking at every interval is what counts.
    }
  }

  return {
    async start() {
      watchFolder()
      // Looks never overlap: what an earlier one saw must not come after what a later one did.
      looking = periodic({
        intervalMs: deps.intervalMs,
        work: lookOnce,
        onError: (error) => {
          deps.logger.error('the check of the sentinel file failed', { path, err: error })
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
        await (await open(path, 'a', 0o600)).close()
      } catch (error) {
        deps.logger.warn('the sentinel file cannot be made: the block ends with this process', {
          path,
          err: error,
        })
      }
      await deps.cutRevoked()
    },
  }
}
