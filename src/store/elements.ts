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
    let place = this.#places.get(key)
    if (place === undefined) {
      place = this.#free.pop() ?? this.#places.size
      this.#places.set(key, place)
    }
    this.#at(place).set(toBytes(element))
  }

  /**
   * Adds several rows before any row is deleted.
   * @param keys must be new
   * @param elements ELEMENT_BYTES bytes for each row
   */
  append(keys: readonly string[], elements: Buffer): void {
    let next = this.#places.size
    for (let from = 0; from < elements.length;) {
      const start = (next % BLOCK_ROWS) * ELEMENT_BYTES
      const copied = elements.copy(this.#block(next), start, from)
      from += copied
      next += copied / ELEMENT_BYTES
    }
    for (const key of keys) this.#places.set(key, this.#places.size)
  }

  delete(key: string): void {
    const place = this.#places.get(key)
    if (place === undefined) return
    this.#places.delete(key)
    this.#free.push(place)
  }

  #at(place: number): Buffer {
    const start = (place % BLOCK_ROWS) * ELEMENT_BYTES
    return this.#block(place).subarray(start, start + ELEMENT_BYTES)
  }

  /** Returns the block that contains a place. */
  #block(place: number): Buffer {
    return (this.#blocks[Math.floor(place / BLOCK_ROWS)] ??= Buffer.alloc(
      BLOCK_ROWS * ELEMENT_BYTES,
    ))
  }
}
