/** Tracks which files of a log are not on disk yet, and syncs them in groups. */
// SPDX-License-Identifier: Apache-2.0
import { closeSync, fsync, fsyncSync, openSync } from 'node:fs'
import { promisify } from 'node:util'

/** Syncs open files and directories. */
export interface Disk {
  readonly sync: (fd: number) => Promise<void>
  /** Blocks the calling thread. */
  readonly syncNow: (fd: number) => void
}

export const systemDisk: Disk = { sync: promisify(fsync), syncNow: fsyncSync }

/** Size of the thread pool. Concurrent syncs share the file system's transactions. */
const SYNCS_AT_ONCE = 4

/** Files and directories that were written up to a published tree. */
interface Group {
  readonly paths: Set<string>
  readonly size: number
}

export class UnsyncedFiles {
  readonly #disk: Disk
  /** Files and directories that were written after the last `mark`. */
  #paths = new Set<string>()
  /** Groups of files that `mark` has ended, oldest first. */
  readonly #marked: Group[] = []
  /** Tree size up to which all files are on disk. */
  #size: number
  #failure: Error | undefined

  constructor(size: number, disk: Disk) {
    this.#size = size
    this.#disk = disk
  }

  /**
   * Error of the first failed sync. The kernel may then drop the data and report success for the
   * next sync of the same file, so nothing that was written since the last successful sync counts
   * as being on disk.
   */
  get failure(): Error | undefined {
    return this.#failure
  }

  get hasMarked(): boolean {
    return this.#marked.length > 0
  }

  add(path: string): void {
    this.#paths.add(path)
  }

  /** Tree sizes from which a recovery may have to start. */
  sizes(): readonly number[] {
    return [this.#size, ...this.#marked.map(({ size }) => size)]
  }

  /** Closes the group of files that complete a tree of this size, and starts a new group. */
  mark(size: number): void {
    this.#marked.push({ paths: this.#paths, size })
    this.#paths = new Set()
  }

  /**
   * Syncs the oldest group that `mark` closed. Returns the size of the tree that is now on disk.
   * @throws a system error. The next call syncs what is missing, unless `failure` is set.
   */
  async syncOldest(): Promise<number> {
    if (this.#failure !== undefined) throw this.#failure
    const [oldest] = this.#marked
    if (oldest === undefined) return this.#size
    const { paths, size } = oldest
    const waiting = [...paths]
    while (waiting.length > 0) {
      const some = waiting.splice(0, SYNCS_AT_ONCE)
      await Promise.all(some.map((path) => this.#syncPath(path)))
      for (const path of some) paths.delete(path)
    }
    this.#marked.shift()
    this.#size = size
    return size
  }

  /** Syncs an open file. Blocks the calling thread. A failure also sets `failure`. */
  readonly syncNow = (fd: number): void => {
    try {
      this.#disk.syncNow(fd)
    } catch (error) {
      throw this.#fail(error)
    }
  }

  #fail(error: unknown): Error {
    const failure = error instanceof Error ? error : new Error(String(error))
    this.#failure ??= failure
    return failure
  }

  /** Syncs a file or directory, unless it has been removed in the meantime. */
  async #syncPath(path: string): Promise<void> {
    const fd = openIfPresent(path)
    if (fd === undefined) return
    try {
      // Only this call waits for the disk. Opening and closing the file asynchronously would take
      // two more turns of the thread pool.
      await this.#disk.sync(fd)
    } catch (error) {
      throw this.#fail(error)
    } finally {
      closeSync(fd)
    }
  }
}

function openIfPresent(path: string): number | undefined {
  try {
    return openSync(path, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
