/**
 * The protocol on the pipe to a worker process: frames with a length (4 bytes, little-endian), a
 * kind or status (1), an id (4), and a body. Both ends run the same release on one machine, so the
 * protocol has no version. A faulty module can write anything into the pipe, so nothing read from
 * it is trusted: unexpected content is a ProtocolError, which ends the worker process.
 */
// SPDX-License-Identifier: Apache-2.0

/** Kinds of requests. */
export const CALL = 1
export const ENCRYPT = 2
export const DECRYPT = 3
/** Kinds of responses. */
export const DONE = 0
export const FAILED = 1
/**
 * Sent once, without a request, when the process is running. Any further delay is due to the
 * module.
 */
export const RUNNING = 2

const LENGTH_BYTES = 4
const HEAD_BYTES = LENGTH_BYTES + 1 + 4
const NO_FRAMES: readonly Frame[] = []
const TAG_BYTES = 16
const DIGEST_BYTES = 32
/**
 * Maximum size of a frame, not counting the length field; large enough to list 100,000 keys of a
 * token.
 */
const MAX_FRAME_BYTES = 32 * 1024 * 1024

/** Thrown when the other end has sent bytes that violate the protocol. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError'
}

/** Flag for a verified encryption: one request to encrypt, hash, decrypt and compare. */
export const VERIFY = 1
/** Flag for computing the hash: SHA-256 of the given prefix, IV, ciphertext and tag. */
export const DIGEST = 2

export interface Frame {
  readonly kind: number
  readonly id: number
  readonly body: Buffer
}

/**
 * @param parts the body; each part is preceded by its length
 * @throws ProtocolError if the frame would be too long
 */
export function encodeFrame(kind: number, id: number, parts: readonly Buffer[]): Buffer {
  let size = HEAD_BYTES
  for (const part of parts) size += LENGTH_BYTES + part.length
  if (size - LENGTH_BYTES > MAX_FRAME_BYTES)
    throw new ProtocolError('the message is too large for one frame')
  const frame = Buffer.allocUnsafe(size)
  frame.writeUInt32LE(size - LENGTH_BYTES, 0)
  frame.writeUInt8(kind, LENGTH_BYTES)
  frame.writeUInt32LE(id, LENGTH_BYTES + 1)
  let at = HEAD_BYTES
  for (const part of parts) {
    frame.writeUInt32LE(part.length, at)
    frame.set(part, at + LENGTH_BYTES)
    at += LENGTH_BYTES + part.length
  }
  return frame
}

/**
 * Splits a body into its parts without copying.
 * @param from position of the first part
 * @throws ProtocolError
 */
export function decodeParts(body: Buffer, from = 0): readonly Buffer[] {
  const parts: Buffer[] = []
  let at = from
  while (at < body.length) {
    const start = at + LENGTH_BYTES
    const end = start > body.length ? Infinity : start + body.readUInt32LE(at)
    if (end > body.length) throw new ProtocolError('a field is longer than its frame')
    parts.push(body.subarray(start, end))
    at = end
  }
  return parts
}

/**
 * Checks that the parts of a response to ENCRYPT or DECRYPT have the sizes that its request
 * implies.
 * @param request parts of the request, the head first
 * @throws ProtocolError
 */
export function checkResult(
  kind: number,
  request: readonly Buffer[],
  answer: readonly Buffer[],
): void {
  if (kind === ENCRYPT) {
    const hasDigest = ((request[0]?.[2] ?? 0) & DIGEST) !== 0
    const iv = answer[0]?.length
    const fits =
      answer.length === 4 &&
      (iv === 12 || iv === 16) &&
      answer[1]?.length === (request[4]?.length ?? 0) + TAG_BYTES &&
      answer[2]?.length === (hasDigest ? DIGEST_BYTES : 0) &&
      answer[3]?.length === 4
    if (fits) return
  } else if (answer.length === 1 && answer[0]?.length === (request[5]?.length ?? 0) - TAG_BYTES) {
    return
  }
  throw new ProtocolError('the fields of a response have unexpected sizes')
}

/** Splits a byte stream into frames, and buffers an incomplete frame until the rest arrives. */
export class FrameReader {
  #chunks: Buffer[] = []
  #size = 0
  /** Number of buffered bytes that the next step needs. */
  #needed = HEAD_BYTES

  /**
   * Returned frames are views of the chunk in which they arrived.
   * @throws ProtocolError
   */
  take(chunk: Buffer): readonly Frame[] {
    this.#size += chunk.length
    if (this.#size < this.#needed) {
      // Copy the chunk, because the next one may be read into the same memory.
      this.#chunks.push(Buffer.from(chunk))
      return NO_FRAMES
    }
    const bytes = this.#chunks.length === 0 ? chunk : Buffer.concat([...this.#chunks, chunk])
    const frames: Frame[] = []
    let at = 0
    this.#needed = HEAD_BYTES
    while (bytes.length - at >= HEAD_BYTES) {
      const length = bytes.readUInt32LE(at)
      if (length < HEAD_BYTES - LENGTH_BYTES || length > MAX_FRAME_BYTES) {
        throw new ProtocolError('a frame has an invalid length')
      }
      const end = at + LENGTH_BYTES + length
      if (end > bytes.length) {
        this.#needed = end - at
        break
      }
      frames.push({
        kind: bytes.readUInt8(at + LENGTH_BYTES),
        id: bytes.readUInt32LE(at + LENGTH_BYTES + 1),
        body: bytes.subarray(at + HEAD_BYTES, end),
      })
      at = end
    }
    this.#chunks = at === bytes.length ? [] : [Buffer.from(bytes.subarray(at))]
    this.#size = bytes.length - at
    return frames
  }
}
