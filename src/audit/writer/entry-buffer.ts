/**
 * Passes encoded entries to the log's thread in memory that both threads share. A message only
 * identifies a range of this memory, so entries are neither cloned nor allocated one by one. The
 * event loop finishes a range before it sends the message, and reuses the range only after the
 * thread has responded, so that one thread never writes what the other is reading.
 */
// SPDX-License-Identifier: Apache-2.0
import { ENTRY_HEAD_BYTES, MAX_ENTRY_BYTES } from '../log/tiles.ts'

export const SLAB_BYTES = 1024 * 1024
/** Maximum number of slabs. 64 MiB holds more than 50,000 entries of typical length. */
const MAX_SLABS = 64
/** Maximum number of unused slabs to keep for later entries. */
const MAX_FREE_SLABS = 2
/** UTF-8 needs at most three bytes for a UTF-16 code unit. */
const MAX_BYTES_PER_UNIT = 3

interface Slab {
  readonly memory: Buffer
  /** Number of ranges that the thread has not acknowledged. */
  inFlight: number
}

/** Consecutive entries, encoded as in an entry bundle. */
export interface EntryRange {
  readonly bytes: Uint8Array
  readonly count: number
  readonly slab: Slab
}

export class EntryBuffer {
  readonly #maxSlabs: number
  readonly #free: Slab[] = []
  /** Number of slabs, including free ones. */
  #slabs = 0
  #slab: Slab | undefined
  /** Start and end of the entries in the current slab that have not been taken. */
  #from = 0
  #to = 0
  #count = 0

  constructor(maxSlabs = MAX_SLABS) {
    this.#maxSlabs = maxSlabs
  }

  /** Number of entries added since the last `take`. */
  get count(): number {
    return this.#count
  }

  /**
   * Reports whether an entry fits into the slab that holds the entries before it. If it does not,
   * take those entries first.
   */
  fits(text: string): boolean {
    return this.#count === 0 || this.#hasRoom(text)
  }

  /**
   * Returns false if all slabs are in use, or if the entry is too long for a bundle.
   * @param isExempt true to exceed the maximum number of slabs if necessary
   */
  add(text: string, isExempt = false): boolean {
    if (text.length * MAX_BYTES_PER_UNIT > MAX_ENTRY_BYTES) {
      if (Buffer.byteLength(text) > MAX_ENTRY_BYTES) return false
    }
    const slab = this.#slabFor(text, isExempt)
    if (slab === undefined) return false
    const start = this.#to + ENTRY_HEAD_BYTES
    const length = slab.memory.write(text, start, MAX_ENTRY_BYTES, 'utf8')
    slab.memory.writeUInt16BE(length, this.#to)
    this.#to = start + length
    this.#count += 1
    return true
  }

  /** Returns the entries added since the last call; undefined if there are none. */
  take(): EntryRange | undefined {
    const slab = this.#slab
    if (slab === undefined || this.#count === 0) return undefined
    const range = { slab, bytes: slab.memory.subarray(this.#from, this.#to), count: this.#count }
    slab.inFlight += 1
    this.#from = this.#to
    this.#count = 0
    return range
  }

  /** Allows the range's memory to be reused. */
  release({ slab }: EntryRange): void {
    slab.inFlight -= 1
    if (slab.inFlight > 0) return
    if (slab !== this.#slab) this.#keep(slab)
    else if (this.#count === 0) this.#use(slab)
  }

  #slabFor(text: string, isExempt: boolean): Slab | undefined {
    if (this.#slab !== undefined && this.#hasRoom(text)) return this.#slab
    if (this.#count > 0) return undefined
    const next = this.#free.pop() ?? this.#allocate(isExempt)
    if (next === undefined) return undefined
    const full = this.#slab
    this.#use(next)
    if (full?.inFlight === 0) this.#keep(full)
    return next
  }

  #hasRoom(text: string): boolean {
    const most = Math.min(text.length * MAX_BYTES_PER_UNIT, MAX_ENTRY_BYTES)
    return this.#to + ENTRY_HEAD_BYTES + most <= SLAB_BYTES
  }

  #use(slab: Slab): void {
    this.#slab = slab
    this.#from = 0
    this.#to = 0
  }

  #allocate(isExempt: boolean): Slab | undefined {
    if (this.#slabs >= this.#maxSlabs && !isExempt) return undefined
    this.#slabs += 1
    return { memory: Buffer.from(new SharedArrayBuffer(SLAB_BYTES)), inFlight: 0 }
  }

  #keep(slab: Slab): void {
    if (this.#free.length < MAX_FREE_SLABS) this.#free.push(slab)
    else this.#slabs -= 1
  }
}
