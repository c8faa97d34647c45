/**
 * Blocks this host at once, with no database and no admin listener: a sentinel file whose presence is
 * the block, and a signal that makes it.
 */
// SPDX-License-Identifier: Apache-2.0
import { watch, type FSWatcher } from 'node:fs'
import { lstat, open } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import type { GateControl } from '../gate/gate.ts'

export interface LocalBlock {
  /** Looks once before it resolves. */
  start(): Promise<void>
  stop(): void
  /** What SIGUSR2 does: refuses from now on, and makes the sentinel file, so that a restart refuses too. */
  block(): Promise<void>
}

export interface LocalBlockDeps {
  readonly path: string
  readonly gate: GateControl
  readonly intervalMs: number
  readonly cutRevoked: () => Promise<void>
  readonly warn: (message: string, fields: object) => void
}

export function createLocalBlock(deps: LocalBlockDeps): LocalBlock {
  const { path, gate } = deps
  let isBlocked = false
  let looking: Promise<void> = Promise.resolve()
  let timer: NodeJS.Timeout | undefined
  let watcher: FSWatcher | undefined
  let stopped = false

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
      deps.warn('the sentinel file blocks this instance', { path, problem })
      await deps.cutRevoked()
    } else {
      // Whoever removes the file takes back the signal that made it.
      gate.accept('SIGNAL')
      deps.warn('the sentinel file is gone: this instance is not blocked by it any more', { path })
    }
  }

  /** One after the other: what an earlier look saw must not come after what a later one did. */
  function look(): Promise<void> {
    looking = looking.then(lookOnce)
    return looking
  }

  function schedule(): void {
    if (stopped) return
    timer = setTimeout(() => void look().then(schedule), deps.intervalMs)
    timer.unref()
  }

  function watchFolder(): void {
    try {
      watcher = watch(dirname(path), { persistent: false }, (_event, name) => {
        if (name === null || name === basename(path)) void look()
      })
      watcher.on('error', () => watcher?.close())
    } catch {
      // No folder yet, or no more watches to be had: looking at every interval is what counts.
    }
  }

  return {
    async start() {
      watchFolder()
      await look()
      schedule()
    },
    stop() {
      stopped = true
      clearTimeout(timer)
      watcher?.close()
    },
    async block() {
      gate.refuse('SIGNAL')
      deps.warn('blocked by a signal', { path })
      try {
        await (await open(path, 'a', 0o600)).close()
      } catch (error) {
        deps.warn('the sentinel file cannot be made: the block ends with this process', {
          path,
          err: error,
        })
      }
      await deps.cutRevoked()
    },
  }
}
