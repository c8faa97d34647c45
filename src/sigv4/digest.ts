/** SHA-256 and HMAC-SHA-256 in single calls: for requests this small, making hash objects is most of the cost. */
// SPDX-License-Identifier: Apache-2.0
import * as crypto from 'node:crypto'

const BLOCK_BYTES = 64
const DIGEST_BYTES = 32

export function sha256Hex(data: Buffer | string): string {
  return crypto.hash('sha256', data, 'hex')
}

/** RFC 2104, with the key's two pads made once. Not for concurrent use: it has one work buffer. */
export class HmacSha256 {
  readonly #inner: Buffer
  readonly #outer = Buffer.alloc(BLOCK_BYTES + DIGEST_BYTES)

  /** @param key of any length; a copy is kept */
  constructor(key: Buffer) {
    const short = key.length > BLOCK_BYTES ? crypto.hash('sha256', key, 'buffer') : key
    this.#inner = Buffer.alloc(BLOCK_BYTES, 0x36)
    this.#outer.fill(0x5c, 0, BLOCK_BYTES)
    short.forEach((byte, i) => {
      this.#inner[i] = byte ^ 0x36
      this.#outer[i] = byte ^ 0x5c
    })
  }

  /** 32 bytes. */
  digest(data: string): Buffer {
    const text = Buffer.from(data, 'utf8')
    const inner = crypto.hash('sha256', Buffer.concat([this.#inner, text]), 'buffer')
    inner.copy(this.#outer, BLOCK_BYTES)
    return crypto.hash('sha256', this.#outer, 'buffer')
  }
}

export function hmacSha256(key: Buffer | string, data: string): Buffer {
  return crypto.createHmac('sha256', key).update(data, 'utf8').digest()
}
