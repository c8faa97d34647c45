/** A worker thread that owns SQLite connections. Each message to it gets an answer or a timeout. */
// SPDX-License-Identifier: Apache-2.0
import { Worker } from 'node:worker_threads'
import { describeAddOnFault } from '../../core/native-add-on.ts'
import { StorageError } from '../database.ts'
import type { Command, ReplyMessage, SqliteWorkerData } from './protocol.ts'

interface Pending {
  readonly resolve: (reply: ReplyMessage) => void
  readonly reject: (error: StorageError) => void
  readonly timer: NodeJS.Timeout
}

export class SqliteThread {
  readonly #worker: Worker
  readonly #deadlineMs: number
  readonly #pending = new Map<number, Pending>()
  #nextId = 0
  #dead: StorageError | undefined

  constructor(workerData: SqliteWorkerData, deadlineMs: number) {
    this.#deadlineMs = deadlineMs
    // The worker has the same extension as this file: .js in the build, .ts in the sources.
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
    this.#worker = new Worker(new URL(`./worker.${extension}`, import.meta.url), { workerData })
    this.#worker.on('message', (reply: ReplyMessage) => {
      this.#settle(reply)
    })
    this.#worker.on('error', (cause) => {
      const engine = describeAddOnFault(cause)
      this.#fail(
        engine === undefined
          ? new StorageError('STORE_FAILED', 'the thread of the store failed', { cause })
          : new StorageError(
              'STORE_ENGINE_MISSING',
              `the engine of the store, better-sqlite3, ${engine}`,
              { hint: 'npm ci, in the folder of Latchkey' },
            ),
      )
    })
    this.#worker.on('exit', () => {
      this.#fail(new StorageError('STORE_CLOSED', 'the store is closed'))
    })
    this.#worker.unref()
  }

  /** @throws StorageError such as STORE_TIMEOUT */
  send(command: Command): Promise<ReplyMessage> {
    if (this.#dead !== undefined) return Promise.reject(this.#dead)
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      // Cleared as soon as the answer arrives.
      const timer = setTimeout(() => {
        this.#pending.delete(id)
        reject(new StorageError('STORE_TIMEOUT', 'the store did not answer in time'))
      }, this.#deadlineMs)
      this.#pending.set(id, { resolve, reject, timer })
      this.#worker.postMessage({ id, command })
    })
  }

  async close(): Promise<void> {
    if (this.#dead === undefined) await this.send({ kind: 'close' }).catch(() => undefined)
    await this.#worker.terminate()
  }

  #settle(reply: ReplyMessage): void {
    const pending = this.#pending.get(reply.id)
    if (pending === undefined) return
    this.#pending.delete(reply.id)
    clearTimeout(pending.timer)
    if (reply.error === undefined) pending.resolve(reply)
    else {
      const { code, message, hint } = reply.error
      pending.reject(new StorageError(code, message, hint === undefined ? {} : { hint }))
    }
  }

  #fail(error: StorageError): void {
    this.#dead ??= error
    for (const { reject, timer } of this.#pending.values()) {
      clearTimeout(timer)
      reject(error)
    }
    this.#pending.clear()
  }
}
