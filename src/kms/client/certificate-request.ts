/**
 * Detects whether a TLS 1.2 server requests a client certificate. In TLS 1.2, the
 * CertificateRequest is not encrypted.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'

/** Constants of TLS records and handshake messages (RFC 5246, sections 6.2.1 and 7.4). */
const RECORD_HEADER_BYTES = 5
const RECORD_TYPE_HANDSHAKE = 22
const HANDSHAKE_HEADER_BYTES = 4
const CERTIFICATE_REQUEST = 13

export interface HandshakeWatch {
  /** Passes bytes through in both directions and examines the bytes from the server. */
  readonly wrap: (socket: Socket) => Duplex
  /** Call after the handshake, whether it succeeded or not. */
  wasAsked(): boolean
}

/**
 * Node does not report a CertificateRequest, so this function reads the bytes. It supports TLS 1.2
 * only.
 */
export function watchHandshake(): HandshakeWatch {
  const chunks: Buffer[] = []
  return {
    wrap(socket) {
      socket.on('data', (chunk: Buffer) => {
        chunks.push(chunk)
        if (!duplex.push(chunk)) socket.pause()
      })
      socket.on('end', () => duplex.push(null))
      socket.on('error', (error) => duplex.destroy(error))
      socket.on('close', () => duplex.destroy())
      const duplex = new Duplex({
        read: () => socket.resume(),
        write(chunk: Buffer, _encoding, done) {
          socket.write(chunk, done)
        },
        final(done) {
          socket.end(done)
        },
        destroy(error, done) {
          socket.destroy()
          done(error)
        },
      })
      return duplex
    },
    wasAsked: () => handshakeTypes(Buffer.concat(chunks)).includes(CERTIFICATE_REQUEST),
  }
}

/** Returns the types of the handshake messages, up to the first record that is encrypted or of another type. */
export function handshakeTypes(bytes: Buffer): readonly number[] {
  const messages = joinHandshakeRecords(bytes)
  const types: number[] = []
  for (let at = 0; at + HANDSHAKE_HEADER_BYTES <= messages.length;) {
    types.push(messages.readUInt8(at))
    at += HANDSHAKE_HEADER_BYTES + messages.readUIntBE(at + 1, 3)
  }
  return types
}

/** A message may span several records, and a record may hold several messages. */
function joinHandshakeRecords(bytes: Buffer): Buffer {
  const parts: Buffer[] = []
  for (let at = 0; at + RECORD_HEADER_BYTES <= bytes.length;) {
    if (bytes.readUInt8(at) !== RECORD_TYPE_HANDSHAKE) break
    const start = at + RECORD_HEADER_BYTES
    const end = start + bytes.readUInt16BE(at + 3)
    parts.push(bytes.subarray(start, end))
    at = end
  }
  return Buffer.concat(parts)
}
