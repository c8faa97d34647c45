/** Runs audits on a separate thread (audit-worker.ts). */
// SPDX-License-Identifier: Apache-2.0
import { Worker } from 'node:worker_threads'
import { StorageError } from './database.ts'
import type { AuditOrder, AuditResult, AuditWorkerData } from './audit-worker.ts'
import { DEFAULT_DEADLINE_MS, type StorePlace } from './engine.ts'
import { loadTarget, type PostgresTarget } from './postgres/address.ts'
import type { SealingKeys } from './sealing.ts'

export interface AuditThread {
  /**
   * Verifies the schema and all sealed data. Calls must not overlap.
   * @param keys the one or two keys used for verification
   * @throws StorageError
   */
  run(keys: readonly SealingKeys[]): Promise<void>
  close(): Promise<void>
}

/** The thread starts with the first audit, so most commands never start one. */
export function createAuditThread(place: StorePlace): AuditThread {
  const { postgres, deadlineMs = DEFAULT_DEADLINE_MS } = place
  let thread: Thread | undefined
  return {
    async run(keys) {
      const server = postgres === undefined ? {} : toServer(await loadTarget(postgres))
      if (thread?.isDead !== false) {
        thread = new Thread({ path: postgres === undefined ? place.path : undefined, deadlineMs })
      }
      await thread.run({ keys, ...server })
    },
    async close() {
      await thread?.close()
      thread = undefined
    },
  }
}

function toServer({ password, ...target }: PostgresTarget): Omit<AuditOrder, 'keys'> {
  return { target, ...(password === undefined ? {} : { password: password.reveal() }) }
}

class Thread {
  readonly #worker: Worker
  #settle: ((error?: StorageError) => void) | undefined
  #dead: StorageError | undefined

  constructor(workerData: AuditWorkerData) {
    // The worker has the same extension as this file: .js in the build, .ts in the source tree.
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
    this.#worker = new Worker(new URL(`./audit-worker.${extension}`, import.meta.url), {
      workerData,
    })
    this.#worker.on('message', ({ error }: AuditResult) => {
      if (error === undefined) this.#settle?.()
      else {
        const { code, message, hint } = error
        this.#settle?.(new StorageError(code, message, hint === undefined ? {} : { hint }))
      }
    })
    this.#worker.on('error', (cause) => {
      this.#fail(new StorageError('STORE_FAILED', 'the audit thread failed', { cause }))
    })
    this.#worker.on('exit', () => {
      this.#fail(new StorageError('STORE_CLOSED', 'the store is closed'))
    })
    this.#worker.unref()
  }

  get isDead(): boolean {
    return this.#dead !== undefined
  }

  /** Calls must not overlap. */
  run(order: AuditOrder): Promise<void> {
    if (this.#dead !== undefined) return Promise.reject(this.#dead)
    return new Promise((resolve, reject) => {
      this.#worker.ref()
      this.#settle = (error) => {
        this.#worker.unref()
        if (error === undefined) resolve()
        else reject(error)
      }
      this.#worker.postMessage(order)
    })
  }

  async close(): Promise<void> {
    await this.#worker.terminate()
  }

  #fail(error: StorageError): void {
    this.#dead ??= error
    this.#settle?.(error)
  }
}
