/** The operational log: JSON lines on a file descriptor, written off the event loop. */
// SPDX-License-Identifier: Apache-2.0
import pino from 'pino'
import type { Config } from '../config/config.ts'
import type { Logger } from '../core/logger.ts'
import { periodic } from '../core/periodic.ts'

/** Lines wait at most this long, or until this many bytes are there. */
const FLUSH_MS = 250
const BLOCK_BYTES = 65_536
const WRITE_BYTES = 262_144
/** A reader that does not read is not waited for any longer at the end. */
const CLOSE_WITHIN_MS = 5000
/** Behind a reader that does not read, lines are dropped and counted rather than kept for ever. */
const MAX_BUFFER_BYTES = 16 * 1024 * 1024

export interface Log {
  readonly logger: Logger
  /** Whether lines of the level `info` are written. */
  readonly logsInfo: boolean
  /** A whole line of ASCII that is rendered already, with its line break, into the same stream. */
  writeAscii(line: string): void
  /** A block of whole lines, of another process, into the same stream; it is kept. */
  writeBlock(block: Buffer): void
  /** Blocks that a slow reader did not take, since the start. */
  droppedBlocks(): number
  /** The number of the worker process that logs here, if it is one. */
  readonly worker: number | undefined
  /** Writes what is buffered, and ends; for the end of the process. */
  close(): Promise<void>
}

/** Second net behind typed records: were such a field ever logged, it would be struck out. */
export const REDACTED_PATHS = [
  'plaintext',
  'ciphertext',
  'secretAccessKey',
  'authorization',
  'passphrase',
]

/**
 * @param dest a file's path, made 0600 and appended to, or 1 for standard output
 * @param worker number of this process among its siblings, for its lines to carry
 */
export function createLog(config: Config['logging'], dest: string | 1 | 2, worker?: number): Log {
  const destination = pino.destination({
    dest,
    mode: 0o600,
    sync: false,
    contentMode: 'buffer',
    maxWrite: WRITE_BYTES,
    maxLength: MAX_BUFFER_BYTES,
  })
  // The destination measures its whole buffer anew for each string that it is given.
  const lines = new LineBuffer(
    destination as unknown as { write(block: Buffer): void },
    BLOCK_BYTES,
  )
  const flushing = periodic({
    intervalMs: FLUSH_MS,
    work: () => {
      lines.handOver()
    },
    onError: () => undefined,
  })
  const writer = pino(
    {
      level: config.level,
      base: worker === undefined ? null : { worker },
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: REDACTED_PATHS, censor: '[redacted]' },
    },
    lines,
  )
  const logger: Logger = {
    info: (message, fields) => {
      writer.info(fields ?? {}, message)
    },
    warn: (message, fields) => {
      writer.warn(fields ?? {}, message)
    },
    error: (message, fields) => {
      writer.error(fields ?? {}, message)
    },
  }
  let dropped = 0
  let droppedInAll = 0
  destination.on('drop', () => {
    dropped += 1
    droppedInAll += 1
  })
  destination.on('drain', () => {
    if (dropped > 0)
      logger.warn('log lines were dropped: the reader is too slow', { blocks: dropped })
    dropped = 0
  })
  // A reader that went away (EPIPE) must not take the server with it.
  destination.on('error', () => undefined)
  return {
    logger,
    logsInfo: writer.isLevelEnabled('info'),
    worker,
    droppedBlocks: () => droppedInAll,
    writeAscii: (line) => {
      lines.writeAscii(line)
    },
    writeBlock: (block) => {
      lines.writeBlock(block)
    },
    async close() {
      await flushing.stop()
      lines.handOver()
      // Not flushSync: it would write beside a block that is on its way, into the middle of a line.
      await new Promise<void>((resolve) => {
        // Cleared as soon as the stream is closed.
        const impatience = setTimeout(resolve, CLOSE_WITHIN_MS)
        destination.once('close', () => {
          clearTimeout(impatience)
          resolve()
        })
        destination.end()
      })
    },
  }
}

/** UTF-8 takes at most three bytes for each UTF-16 unit of a string. */
const MAX_BYTES_PER_UNIT = 3

/** Takes blocks of whole lines; it may keep them. */
interface BlockSink {
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
