/**
 * What goes over the pipe to the process of a module: frames of a length (4 bytes, little-endian),
 * a kind or status (1), an id (4), and a body. Pipes of this machine, both ends of one release: no
 * versions, no checks beyond lengths.
 */
// SPDX-License-Identifier: Apache-2.0

/** Kinds of requests. */
export const CALL = 1
export const ENCRYPT = 2
export const DECRYPT = 3
/** Kinds of answers. */
export const DONE = 0
export const FAILED = 1

const LENGTH_BYTES = 4
const HEAD_BYTES = LENGTH_BYTES + 1 + 4
const NONE = Buffer.alloc(0)

/** Encrypt, hash, and decrypt to compare, in this order, in one go. */
export const VERIFY = 1
/** Hash: SHA-256 of the given prefix, IV, ciphertext and tag. */
export const DIGEST = 2

export interface Frame {
  readonly kind: number
  readonly id: number
  readonly body: Buffer
}

/** @param parts the body, each part behind its length */
export function encodeFrame(kind: number, id: number, parts: readonly Buffer[]): Buffer {
  let size = HEAD_BYTES
  for (const part of parts) size += LENGTH_BYTES + part.length
  const frame = Buffer.allocUnsafe(size)
  frame.writeUInt32LE(size - LENGTH_BYTES, 0)
  frame.writeUInt8(kind, LENGTH_BYTES)
  frame.writeUInt32LE(id, LENGTH_BYTES + 1)
  let at = HEAD_BYTES
  for (const part of parts) {
    frame.writeUInt32LE(part.length, at)
    part.copy(frame, at + LENGTH_BYTES)
    at += LENGTH_BYTES + part.length
  }
  return frame
}

/** The parts of a body, without a copy. */
export function decodeParts(body: Buffer): readonly Buffer[] {
  const parts: Buffer[] = []
  let at = 0
  while (at < body.length) {
    const end = at + LENGTH_BYTES + body.readUInt32LE(at)
    parts.push(body.subarray(at + LENGTH_BYTES, end))
    at = end
  }
  return parts
}

/** Cuts a stream of bytes into frames; what is left of one stays until its rest comes. */
export class FrameReader {
  #rest: Buffer = NONE

  /** Frames are views of the chunk that they came in. */
  take(chunk: Buffer): readonly Frame[] {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    const frames: Frame[] = []
    let at = 0
    while (bytes.length - at >= HEAD_BYTES) {
      const end = at + LENGTH_BYTES + bytes.readUInt32LE(at)
      if (end > bytes.length) break
      frames.push({
        kind: bytes.readUInt8(at + LENGTH_BYTES),
        id: bytes.readUInt32LE(at + LENGTH_BYTES + 1),
        body: bytes.subarray(at + HEAD_BYTES, end),
      })
      at = end
    }
    // A copy: the next chunk may be read into the same memory.
    this.#rest = at === bytes.length ? NONE : Buffer.from(bytes.subarray(at))
    return frames
  }
}
