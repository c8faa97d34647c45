/** Tests doctor's findings for a proxy whose successful responses are wrong. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { checkLimits } from '../../src/tools/doctor/examine.ts'
import { checkHealth, checkKey } from '../../src/tools/doctor/operations.ts'
import type { Session } from '../../src/tools/doctor/session.ts'
import { startBrokenProxy } from '../support/broken-proxy.ts'
import { fields, testCases, type DoctorCase } from '../support/doctor-cases.ts'
import { KEY_ID, startTestServer } from '../support/server.ts'

const server = await startTestServer(t)

const health = (session: Session) => checkHealth(session)
const key = (session: Session) => checkKey(session, KEY_ID)
const limits = (session: Session) => checkLimits(session, KEY_ID)

let lastSeen: string | undefined

const CASES: readonly DoctorCase[] = [
  {
    what: 'a fleet of none',
    faults: { spoil: fields('/health', () => ({ xksProxyFleetSize: 0 })) },
    look: health,
    expected: { health: 'fail' },
  },
  {
    what: 'a health report without key managers',
    faults: { spoil: fields('/health', () => ({ ekmFleetDetails: [] })) },
    look: health,
    expected: { health: 'fail' },
  },
  ...(['DEGRADED', 'UNAVAILABLE', 'FINE'] as const).map((healthStatus) => ({
    what: `key managers that are ${healthStatus}`,
    faults: {
      spoil: fields('/health', () => ({
        ekmFleetDetails: [{ id: '1', model: 'm', healthStatus }],
      })),
    },
    look: health,
    expected: { 'key-managers': healthStatus === 'DEGRADED' ? 'warn' : 'fail' } as const,
  })),
  {
    what: 'a key of another kind',
    faults: { spoil: fields('/metadata', () => ({ keySpec: 'RSA_0' })) },
    look: key,
    expected: { 'key-metadata': 'fail' },
    says: /expected the keySpec AES_256, found "RSA_0"/,
  },
  {
    what: 'a disabled key that cannot decrypt',
    faults: {
      spoil: fields('/metadata', () => ({ keyStatus: 'DISABLED', keyUsage: ['ENCRYPT'] })),
    },
    look: key,
    expected: { 'key-metadata': 'fail' },
    says: /keyUsage lacks .*DISABLED/,
  },
  {
    what: 'a wrong data integrity value',
    faults: {
      spoil: fields('/encrypt', () => ({ ciphertextDataIntegrityValue: 'A'.repeat(43) + '=' })),
    },
    look: key,
    expected: { cdiv: 'fail' },
  },
  {
    what: 'no data integrity value',
    faults: {
      spoil: fields('/encrypt', () => ({ ciphertextDataIntegrityValue: undefined })),
    },
    look: key,
    expected: { cdiv: 'fail' },
  },
  {
    what: 'a tag that is too short',
    faults: { spoil: fields('/encrypt', () => ({ authenticationTag: 'AAAA' })) },
    look: key,
    expected: { encrypt: 'fail', cdiv: 'fail', decrypt: 'fail' },
  },
  {
    what: 'a field that is no Base64',
    faults: { spoil: fields('/encrypt', () => ({ ciphertext: '*' })) },
    look: key,
    expected: { encrypt: 'fail' },
  },
  {
    what: 'the same IV twice',
    faults: {
      spoil: fields('/encrypt', ({ initializationVector: iv }) => {
        lastSeen ??= String(iv)
        return { initializationVector: lastSeen }
      }),
    },
    look: key,
    expected: { 'encrypt-anew': 'fail' },
  },
  {
    what: 'another plaintext',
    faults: { spoil: fields('/decrypt', () => ({ plaintext: 'A'.repeat(43) + '=' })) },
    look: key,
    expected: { decrypt: 'fail' },
    says: /decrypted bytes differ from the plaintext/,
  },
  {
    what: 'refusing what it does not know',
    faults: {
      spoil: (answer, { body }) => {
        if (body.includes('BulkEncrypt')) answer.status = 400
      },
    },
    look: key,
    expected: { 'unknown-metadata': 'fail' },
  },
  {
    what: 'a body limit that is too low',
    faults: {
      spoil: (answer, { body }) => {
        if (body.length > 4000) answer.status = 413
      },
    },
    look: limits,
    expected: { 'limit-plaintext': 'fail', 'limit-aad': 'fail', 'limit-all': 'fail' },
    says: /4,300 bytes: Encrypt: the response was 413/,
  },
]

testCases(t, server, CASES)

void t.test('without faults, nothing is reported', async (t) => {
  const proxy = await startBrokenProxy(t, server)
  for (const look of [health, key, limits]) {
    const findings = await look(proxy.session())
    t.same(
      findings.filter(({ verdict }) => verdict !== 'ok'),
      [],
    )
  }
})
