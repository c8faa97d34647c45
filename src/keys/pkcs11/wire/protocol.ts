/**
 * The protocol on the pipe to a worker process: frames with a length (4 bytes, little-endian), a
 * kind or status (1), an id (4), and a body. Both ends are of one release on one machine, so there
 * are no versions. But a faulty module can write anything into the pipe, so nothing in it is
 * trusted: unexpected content is a ProtocolError, which ends the worker process.
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
const NO_FRAMES: readonly Frame[] = []
const TAG_BYTES = 16
const DIGEST_BYTES = 32
const IV_BYTES: readonly number[] = [12, 16]
/**
 * Maximum size of a frame without its length, large enough for the list of a token with 100,000
 * keys.
 */
const MAX_FRAME_BYTES = 32 * 1024 * 1024

/** The other end sent bytes that no worker and no server of this release sends. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError'
}

/** Flag of a verified encryption: encrypt, hash, then decrypt and compare, in one request. */
export const VERIFY = 1
/** Flag for the hash: SHA-256 of the given prefix, IV, ciphertext and tag. */
export const DIGEST = 2

export interface Frame {
  readonly kind: number
  readonly id: number
  readonly body: Buffer
}

/**
 * @param parts the body; each part follows its length
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
    part.copy(frame, at + LENGTH_BYTES)
    at += LENGTH_BYTES + part.length
  }
  return frame
}

/** Splits a body into its parts without copying. @throws ProtocolError */
export function decodeParts(body: Buffer): readonly Buffer[] {
  const parts: Buffer[] = []
  let at = 0
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
 * Checks that the parts of an answer to ENCRYPT or DECRYPT are those of its request.
 * @param request parts of the request, the head first
 * @throws ProtocolError
 */
export function checkResult(
  kind: number,
  request: readonly Buffer[],
  answer: readonly Buffer[],
): void {
  const sizes = answer.map(({ length }) => length)
  if (kind === ENCRYPT) {
    const [head, , , , plaintext] = request
    const hasDigest = ((head?.[2] ?? 0) & DIGEST) !== 0
    const [iv = 0, ...rest] = sizes
    const expected = [(plaintext?.length ?? 0) + TAG_BYTES, hasDigest ? DIGEST_BYTES : 0, 4]
    if (IV_BYTES.includes(iv) && rest.join() === expected.join()) return
  } else {
    const sealed = request[5]
    if (sizes.length === 1 && sizes[0] === (sealed?.length ?? 0) - TAG_BYTES) return
  }
  throw new ProtocolError('the fields of an answer have unexpected sizes')
}

/** Splits a byte stream into frames and keeps an incomplete frame until its rest arrives. */
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
      // Copied, because the next chunk may be read into the same memory.
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
        throw new ProtocolError('a frame has an impossible length')
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
