/**
 * A worker thread that owns SQLite connections. Every message to it ends in a reply or a timeout.
 */
// SPDX-License-Identifier: Apache-2.0
import { Worker } from 'node:worker_threads'
import { describeAddOnFault } from '../../core/native-add-on.ts'
import { StorageError } from '../database.ts'
import type { Command, ReplyMessage } from './protocol.ts'

interface Pending {
  readonly resolve: (reply: ReplyMessage) => void
  readonly reject: (error: StorageError) => void
  readonly timer: NodeJS.Timeout
}

/** A worker, and the object that currently owns it. */
interface Host {
  readonly worker: Worker
  owner: Owner | undefined
}

interface Owner {
  settle(reply: ReplyMessage): void
  fail(error: StorageError): void
}

/**
 * Maximum number of idle workers that a process keeps for its next stores. Starting a worker takes
 * as long as dozens of transactions.
 */
const MAX_IDLE = 4
/**
 * Hosts without an owner: each worker has closed its connections and is waiting for another store.
 */
const idle = new Set<Host>()

function takeHost(): Host {
  for (const host of idle) {
    idle.delete(host)
    return host
  }
  return startHost()
}

function startHost(): Host {
  // The worker has the same extension as this file: .js in the build, .ts in the source tree.
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
  const worker = new Worker(new URL(`./worker.${extension}`, import.meta.url))
  const host: Host = { worker, owner: undefined }
  const end = (error: StorageError) => {
    idle.delete(host)
    host.owner?.fail(error)
  }
  worker.on('message', (reply: ReplyMessage) => host.owner?.settle(reply))
  worker.on('error', (cause) => {
    const engine = describeAddOnFault(cause)
    end(
      engine === undefined
        ? new StorageError('STORE_FAILED', "the store's thread failed", { cause })
        : new StorageError(
            'STORE_ENGINE_MISSING',
            `the store's engine, better-sqlite3, ${engine}`,
            { hint: 'run npm ci in the Latchkey folder' },
          ),
    )
  })
  worker.on('exit', () => {
    end(closed())
  })
  worker.unref()
  return host
}

const closed = () => new StorageError('STORE_CLOSED', 'the store is closed')

export class SqliteThread {
  readonly #host = takeHost()
  readonly #deadlineMs: number
  readonly #pending = new Map<number, Pending>()
  #nextId = 0
  #dead: StorageError | undefined
  #closing: Promise<void> | undefined

  constructor(deadlineMs: number) {
    this.#deadlineMs = deadlineMs
    this.#host.owner = {
      settle: (reply) => {
        this.#settle(reply)
      },
      fail: (error) => {
        this.#fail(error)
      },
    }
  }

  /** @throws StorageError such as STORE_TIMEOUT */
  send(command: Command): Promise<ReplyMessage> {
    if (this.#dead !== undefined) return Promise.reject(this.#dead)
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      // The timer is cleared as soon as the reply arrives.
      const timer = setTimeout(() => {
        this.#pending.delete(id)
        reject(new StorageError('STORE_TIMEOUT', 'the store did not respond in time'))
      }, this.#deadlineMs)
      this.#pending.set(id, { resolve, reject, timer })
      this.#host.worker.postMessage({ id, command })
    })
  }

  /** Calls after the first send nothing, because the worker may serve another store by then. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    const { worker } = this.#host
    // Replies arrive in order, so after this reply no other reply is outstanding.
    const isIdle =
      this.#dead === undefined &&
      (await this.send({ kind: 'close' }).then(
        () => true,
        () => false,
      ))
    this.#fail(closed())
    this.#host.owner = undefined
    if (isIdle && idle.size < MAX_IDLE) idle.add(this.#host)
    else await worker.terminate()
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
