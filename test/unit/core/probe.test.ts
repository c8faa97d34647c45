/** Tests the marker in requests from Latchkey's own tools. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes, randomUUID } from 'node:crypto'
import t from 'tap'
import {
  PROBE_AAD,
  PROBE_ID_PREFIX,
  hasProbeId,
  isProbe,
  probeAad,
  probeRequestId,
} from '../../../src/core/probe.ts'

void t.test('each probe has a different id, which is a UUID of version 8', (t) => {
  const ids = Array.from({ length: 100 }, probeRequestId)
  t.equal(new Set(ids).size, 100)
  for (const id of ids) t.match(id, /^6c617463-686b-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  t.equal(Buffer.from(PROBE_ID_PREFIX.replaceAll('-', ''), 'hex').toString('latin1'), 'latchk')
  t.end()
})

void t.test('a Decrypt is a probe only under the AAD of probes', (t) => {
  const id = { kmsRequestId: probeRequestId() }
  const other = { kmsRequestId: randomUUID() }
  t.ok(isProbe(id, 'Encrypt', randomBytes(8)), 'an Encrypt gives its caller nothing')
  t.ok(isProbe(id, 'GetKeyMetadata', undefined))
  t.ok(isProbe(id, 'GetHealthStatus', undefined))
  t.ok(isProbe(id, 'Decrypt', probeAad(PROBE_AAD.length)))
  t.ok(isProbe(id, 'Decrypt', probeAad(8192)))
  for (const aad of [undefined, Buffer.alloc(0), randomBytes(96), PROBE_AAD.subarray(1)]) {
    t.notOk(isProbe(id, 'Decrypt', aad))
  }
  t.ok(hasProbeId(id))
  t.notOk(hasProbeId(other))
  t.notOk(isProbe(other, 'Decrypt', probeAad(64)), 'and with the id of probes')
  t.notOk(isProbe(other, 'Encrypt', probeAad(64)))
  t.end()
})
