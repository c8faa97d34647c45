// Computes the serial number of a bill of materials from its contents, so that the same packages yield the same bytes.
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'

/** @param {object} bill in CycloneDX @returns a UUID of version 8 (RFC 9562) */
export function toSerialNumber({ serialNumber: _own, metadata: _metadata, ...contents }) {
  const hash = createHash('sha256').update(JSON.stringify(contents)).digest('hex')
  const id = hash.replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*$/, '$1-$2-8$3-8$4-$5')
  return `urn:uuid:${id}`
}
