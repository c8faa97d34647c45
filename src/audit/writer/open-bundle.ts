/** Collects the entries of a log's last bundle, in memory that is reused for later bundles. */
// SPDX-License-Identifier: Apache-2.0

/** Size in bytes, enough for a bundle of typical entries. */
const BUNDLE_BYTES = 256 * 1024
/** Maximum number of buffers to keep for later bundles. */
const MAX_SPARE = 8

/**
 * The bundle that is not full yet. Allocating memory for each bundle takes longer than filling it,
 * because the kernel clears every page.
 */
export class OpenBundle {
  readonly #spare: Buffer[] = []
  #memory: Buffer = Buffer.allocUnsafeSlow(BUNDLE_BYTES)
  #length = 0

  constructor(pieces: readonly Buffer[]) {
    for (const piece of pieces) this.add(piece)
  }

  /** The encoded entries. Later calls do not change these bytes. */
  get bytes(): Buffer {
    return this.#memory.subarray(0, this.#length)
  }

  /** Adds encoded entries. Keeps no reference to them. */
  add(bytes: Buffer): void {
    const needed = this.#length + bytes.length
    if (needed > this.#memory.length) {
      const larger = Buffer.allocUnsafeSlow(2 * needed)
      larger.set(this.bytes)
      this.#memory = larger
    }
    this.#memory.set(bytes, this.#length)
    this.#length = needed
  }

  /** Returns the encoded entries, and begins an empty bundle. */
  take(): Buffer {
    const { bytes } = this
    this.#memory = this.#spare.pop() ?? Buffer.allocUnsafeSlow(BUNDLE_BYTES)
    this.#length = 0
    return bytes
  }

  /** Allows the memory of a bundle that `take` returned to be reused. */
  release(bundle: Buffer): void {
    if (bundle.buffer.byteLength !== BUNDLE_BYTES || this.#spare.length >= MAX_SPARE) return
    this.#spare.push(Buffer.from(bundle.buffer))
  }
}
