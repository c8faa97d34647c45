/** Lines gathered into large blocks, so that a line costs one copy and no system call. */
// SPDX-License-Identifier: Apache-2.0

/** UTF-8 takes at most three bytes for each UTF-16 unit of a string. */
const MAX_BYTES_PER_UNIT = 3

/** Takes blocks of whole lines; it may keep them. */
export interface BlockSink {
  write(block: Buffer): unknown
}

export class LineBuffer {
  readonly #sink: BlockSink
  readonly #blockBytes: number
  #block: Buffer
  #used = 0

  /** @param blockBytes size of a block; a longer line becomes a block of its own */
  constructor(sink: BlockSink, blockBytes: number) {
    this.#sink = sink
    this.#blockBytes = blockBytes
    this.#block = Buffer.allocUnsafeSlow(blockBytes)
  }

  write(line: string): void {
    const mostBytes = line.length * MAX_BYTES_PER_UNIT
    if (this.#used + mostBytes > this.#blockBytes) this.handOver()
    if (mostBytes > this.#blockBytes) this.#sink.write(Buffer.from(line))
    else this.#used += this.#block.write(line, this.#used, 'utf8')
  }

  /** The same for a line of ASCII only, which is copied as it is. */
  writeAscii(line: string): void {
    if (this.#used + line.length > this.#blockBytes) this.handOver()
    if (line.length > this.#blockBytes) this.#sink.write(Buffer.from(line, 'latin1'))
    else this.#used += this.#block.write(line, this.#used, 'latin1')
  }

  /** A block of whole lines, behind those that are waiting; it is handed on without a copy. */
  writeBlock(block: Buffer): void {
    this.handOver()
    this.#sink.write(block)
  }

  /** Gives the sink what there is. */
  handOver(): void {
    if (this.#used === 0) return
    const full = this.#block.subarray(0, this.#used)
    this.#block = Buffer.allocUnsafeSlow(this.#blockBytes)
    this.#used = 0
    this.#sink.write(full)
  }
}
