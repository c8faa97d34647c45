/** Writes the operational log as JSON lines to a file descriptor, off the event loop. */
// SPDX-License-Identifier: Apache-2.0
import pino from 'pino'
import type { Config } from '../config/config.ts'
import { systemClock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import { periodic } from '../core/periodic.ts'
import { type Line, type LogSource, toConvention } from './log-format.ts'

/** Buffered lines are written after this many milliseconds, or once they reach this many bytes. */
const FLUSH_MS = 250
const BLOCK_BYTES = 65_536
const WRITE_BYTES = 262_144
/** Time in milliseconds that the log waits, on close, for a reader that has stalled. */
const CLOSE_WITHIN_MS = 5000
/** Buffer limit while the reader is stalled. Further lines are dropped and counted. */
const MAX_BUFFER_BYTES = 16 * 1024 * 1024

export interface Log {
  readonly logger: Logger
  /** Whether `info` lines are written. */
  readonly logsInfo: boolean
  setLevel(level: Config['logging']['level']): void
  /** Writes one rendered line of ASCII and a line break to the same stream. */
  writeAscii(line: string): void
  /**
   * Writes a block of whole lines from another process to the same stream. The caller must not
   * reuse the buffer.
   */
  writeBlock(block: Buffer): void
  /** Number of blocks dropped since startup because the reader was too slow. */
  droppedBlocks(): number
  /** Converts a line to the configured convention; undefined if lines keep Latchkey's own names. */
  readonly convert: ((line: Line) => Line) | undefined
  /** The number of this worker process; undefined outside workers. */
  readonly worker: number | undefined
  /**
   * Sets the function that the logger calls before it logs an event. It writes the lines of what
   * happened earlier, so the log keeps the order of events.
   */
  beforeEvent(writeEarlier: () => void): void
  /** Writes the buffered lines and closes the log. Call at the end of the process. */
  close(): Promise<void>
}

/**
 * A second safeguard, in addition to typed records: if one of these fields were ever logged, it
 * would be redacted.
 */
export const REDACTED_PATHS = [
  'plaintext',
  'ciphertext',
  'secretAccessKey',
  'authorization',
  'passphrase',
]

/**
 * @param dest the path of a file, created with mode 0600 and appended to, or 1 for standard output
 * @param source the process that writes; its worker number is added to its lines
 */
export function createLog(
  config: Config['logging'],
  dest: string | 1 | 2,
  source: LogSource & { readonly worker?: number | undefined },
): Log {
  const { worker } = source
  const { format } = config
  const convert =
    format === 'latchkey' ? undefined : (line: Line) => toConvention(format, line, source)
  const destination = pino.destination({
    dest,
    mode: 0o600,
    sync: false,
    contentMode: 'buffer',
    maxWrite: WRITE_BYTES,
    maxLength: MAX_BUFFER_BYTES,
  })
  // Lines are collected into blocks because the destination measures its whole buffer again for
  // each string.
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
  let writeEarlier: () => void = () => undefined
  const write =
    (level: 'info' | 'warn' | 'error'): Logger['info'] =>
    (message, fields = {}) => {
      if (!writer.isLevelEnabled(level)) return
      writeEarlier()
      if (convert === undefined) writer[level](fields, message)
      else {
        const head = {
          level: pino.levels.values[level],
          time: new Date(systemClock.now()).toISOString(),
          worker,
        }
        const line = convert({ ...head, ...redact(fields), msg: message })
        lines.write(`${JSON.stringify(line)}\n`)
      }
    }
  const logger: Logger = { info: write('info'), warn: write('warn'), error: write('error') }
  let logsInfo = writer.isLevelEnabled('info')
  let dropped = 0
  let droppedInAll = 0
  destination.on('drop', () => {
    dropped += 1
    droppedInAll += 1
  })
  destination.on('drain', () => {
    if (dropped > 0) logger.warn('log lines dropped: the reader is too slow', { blocks: dropped })
    dropped = 0
  })
  // A reader that went away (EPIPE) must not stop the server.
  destination.on('error', () => undefined)
  return {
    logger,
    get logsInfo() {
      return logsInfo
    },
    setLevel(level) {
      writer.level = level
      logsInfo = writer.isLevelEnabled('info')
    },
    convert,
    worker,
    beforeEvent(write) {
      writeEarlier = write
    },
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
      // flushSync could write into the middle of a line, because it runs concurrently with a block
      // in progress.
      await new Promise<void>((resolve) => {
        // The timer is cleared as soon as the stream is closed.
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

/** Redacts secrets and serializes errors in other log formats, as pino does in our own format. */
function redact(fields: object): Line {
  const redacted = Object.entries(fields).map(([name, value]: [string, unknown]) => {
    if (REDACTED_PATHS.includes(name)) return [name, '[redacted]']
    return [name, value instanceof Error ? pino.stdSerializers.err(value) : value]
  })
  return Object.fromEntries(redacted) as Line
}

const LINE_FEED = 0x0a

/** UTF-8 takes at most three bytes for each UTF-16 unit of a string. */
const MAX_BYTES_PER_UNIT = 3

/** Receives blocks of whole lines, and may keep them. */
interface BlockSink {
  write(block: Buffer): unknown
}

export class LineBuffer {
  readonly #sink: BlockSink
  readonly #blockBytes: number
  #block: Buffer
  #used = 0

  /** @param blockBytes size of a block; a longer line becomes its own block */
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

  /** Writes a line of pure ASCII, which needs no encoding, and a line break. */
  writeAscii(line: string): void {
    const bytes = line.length + 1
    if (this.#used + bytes > this.#blockBytes) this.handOver()
    if (bytes > this.#blockBytes) {
      this.#sink.write(Buffer.from(`${line}\n`, 'latin1'))
      return
    }
    this.#block.write(line, this.#used, 'latin1')
    this.#used += bytes
    this.#block[this.#used - 1] = LINE_FEED
  }

  /** Passes a block of whole lines to the sink without copying it, after the buffered lines. */
  writeBlock(block: Buffer): void {
    this.handOver()
    this.#sink.write(block)
  }

  /** Passes the buffered lines to the sink. */
  handOver(): void {
    if (this.#used === 0) return
    const full = this.#block.subarray(0, this.#used)
    this.#block = Buffer.allocUnsafeSlow(this.#blockBytes)
    this.#used = 0
    this.#sink.write(full)
  }
}
