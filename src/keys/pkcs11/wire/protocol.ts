/**
 * The protocol on the pipe to a worker process: frames with a length (4 bytes, little-endian),
 * a kind or status (1), an id (4), and a body. Both ends are of one release on one machine, so there are no
 * versions, and no checks other than of lengths.
 */
// SPDX-License-Identifier: Apache-2.0

/** Kinds of requests. */
export const CALL = 1
export const ENCRYPT = 2
export const DECRYPT = 3
/** Kinds of responses. */
export const DONE = 0
export const FAILED = 1

const LENGTH_BYTES = 4
const HEAD_BYTES = LENGTH_BYTES + 1 + 4
const NONE = Buffer.alloc(0)

/** Flag of a verified encryption: encrypt, hash, then decrypt and compare, in one request. */
export const VERIFY = 1
/** Flag for the hash: SHA-256 of the given prefix, IV, ciphertext and tag. */
export const DIGEST = 2

export interface Frame {
  readonly kind: number
  readonly id: number
  readonly body: Buffer
}

/** @param parts the body; each part follows its length */
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

/** Splits a body into its parts without copying. */
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

/** Splits a byte stream into frames and keeps an incomplete frame until its rest arrives. */
export class FrameReader {
  #rest: Buffer = NONE

  /** Returned frames are views of the chunk that they arrived in. */
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
    // Copied, because the next chunk may be read into the same memory.
    this.#rest = at === bytes.length ? NONE : Buffer.from(bytes.subarray(at))
    return frames
  }
}
