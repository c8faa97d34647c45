/**
 * Reads the names of all handles once, in steps. A search by name is slow on tokens with thousands of keys, and each worker
 * has handles of its own.
 */
// SPDX-License-Identifier: Apache-2.0
import { encodeRef, parseRef } from '../wire/calls.ts'
import { readId, readLabel } from './key-attributes.ts'
import { findObjects, type KeyHandles, type KeyHandlesOptions } from './key-handles.ts'
import type { Handle } from './module.ts'

export class HandleNames {
  readonly #options: KeyHandlesOptions
  readonly #handles: KeyHandles
  /** Undefined until the search. */
  #unread: Handle[] | undefined

  constructor(options: KeyHandlesOptions, handles: KeyHandles) {
    this.#options = options
    this.#handles = handles
  }

  /** Begins again, because handles change with a login. */
  forget(): void {
    this.#unread = undefined
  }

  /**
   * @param mayGoOn called after each key
   * @returns the number of handles without a name
   */
  step(session: Handle, mayGoOn: () => boolean): number {
    const { module, keysBy, isReserved } = this.#options
    const { constants: c } = module
    const isKey = { type: c.CKA_CLASS, value: c.CKO_SECRET_KEY }
    this.#unread ??= findObjects(module, session, [isKey], 'many')
    for (;;) {
      const handle = this.#unread.pop()
      if (handle === undefined) return 0
      const label = readLabel(module, session, handle)
      if (!isReserved(label)) {
        const { name, version } = parseRef(label)
        const own = keysBy === 'id' ? readId(module, session, handle) : name
        this.#handles.suggest(encodeRef(own, version), handle)
      }
      if (!mayGoOn()) return this.#unread.length
    }
  }
}
