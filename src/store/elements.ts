/**
 * The elements of a table's rows, by the row's key. They share blocks of memory: with 200,000 rows, a BigInt each would add as
 * many objects for V8 to visit at each garbage collection.
 */
// SPDX-License-Identifier: Apache-2.0
import { ELEMENT_BYTES, toBytes, toNumber } from './row-codes/row-codes.ts'

const BLOCK_ROWS = 4096

export class Elements {
  readonly #places = new Map<string, number>()
  readonly #blocks: Buffer[] = []
  /** Places of deleted rows. */
  readonly #free: number[] = []

  get(key: string): bigint | undefined {
    const place = this.#places.get(key)
    return place === undefined ? undefined : toNumber(this.#at(place))
  }

  set(key: string, element: bigint): void {
    this.put(key, toBytes(element), 0)
  }

  /** Sets a row's element to the ELEMENT_BYTES bytes of `from` at `offset`. */
  put(key: string, from: Buffer, offset: number): void {
    let place = this.#places.get(key)
    if (place === undefined) {
      place = this.#free.pop() ?? this.#places.size
      this.#places.set(key, place)
    }
    from.copy(this.#at(place), 0, offset, offset + ELEMENT_BYTES)
  }

  delete(key: string): void {
    const place = this.#places.get(key)
    if (place === undefined) return
    this.#places.delete(key)
    this.#free.push(place)
  }

  #at(place: number): Buffer {
    const block = Math.floor(place / BLOCK_ROWS)
    const start = (place % BLOCK_ROWS) * ELEMENT_BYTES
    const found = (this.#blocks[block] ??= Buffer.alloc(BLOCK_ROWS * ELEMENT_BYTES))
    return found.subarray(start, start + ELEMENT_BYTES)
  }
}
