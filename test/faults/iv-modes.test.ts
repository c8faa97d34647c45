/** Tests IVs that the HSM generates, as Thales Luna and AWS CloudHSM return them. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { enforceContract } from '../../src/keys/contract.ts'
import type { IvMode } from '../../src/config/config.ts'
import { decrypt, encrypt, keyId, refusal } from '../../src/keys/suite/fixture.ts'
import { type EncryptedBytes, promised } from '../../src/keys/suite/promised-backend.ts'
import { NO_RECORDS } from '../support/pkcs11/key-records.ts'
import { openKeysOn } from '../support/pkcs11/backend-config.ts'
import type { Vendor } from '../support/pkcs11/fault-control.ts'
import { withFaults, type FaultyToken } from '../support/pkcs11/fault-module.ts'
import { createSoftHsm, createTokenKeys } from '../support/pkcs11/tokens.ts'

t.jobs = 1

const KEY = keyId('key')
const ENCRYPTIONS = 200

const MODES: readonly { readonly vendor: Vendor; readonly iv: IvMode; readonly bytes: number }[] = [
  { vendor: 'none', iv: 'host', bytes: 12 },
  { vendor: 'luna', iv: 'hsm-appended-16', bytes: 16 },
  { vendor: 'luna 7.9.3', iv: 'hsm-appended-16', bytes: 16 },
  { vendor: 'luna 7.9.3', iv: 'hsm-appended-12', bytes: 12 },
  { vendor: 'cloudhsm', iv: 'hsm-written', bytes: 12 },
  { vendor: 'cloudhsm', iv: 'cloudhsm-gcm', bytes: 12 },
]

async function tokenWithKey(t: Test): Promise<FaultyToken> {
  const token = await withFaults(t, await createSoftHsm(t))
  await createTokenKeys(t, token, [{ label: 'key' }])
  return token
}

async function backendOn(t: Test, token: FaultyToken, vendor: Vendor, iv: IvMode) {
  token.control.pretend(vendor)
  const keys = await openKeysOn(t, token, { iv, sessions: { min: 1, max: 1 } })
  return { keys, backend: promised(enforceContract(keys.backend('', NO_RECORDS))) }
}

void t.test(
  'each mode works on the HSM that it is for, and reads what the others made',
  async (t) => {
    const token = await tokenWithKey(t)
    const plaintext = randomBytes(32)
    const made: { readonly by: string; readonly sealed: EncryptedBytes }[] = []
    for (const { vendor, iv, bytes } of MODES) {
      const by = `${iv} on ${vendor}`
      const { keys, backend } = await backendOn(t, token, vendor, iv)
      const seen = new Set<string>()
      for (let round = 0; round < ENCRYPTIONS; round++) {
        const sealed = await encrypt({ backend } as never, KEY, plaintext)
        seen.add(sealed.iv.toString('hex'))
        if (round > 0) continue
        t.equal(sealed.iv.length, bytes, by)
        made.push({ by, sealed })
        const broken = { ...sealed, iv: randomBytes(bytes) }
        await t.rejects(decrypt({ backend } as never, KEY, broken), refusal('INTEGRITY_FAILURE'))
      }
      t.equal(seen.size, ENCRYPTIONS, `${by}: no IV twice`)
      keys.close()
    }
    for (const { vendor, iv } of MODES) {
      const { keys, backend } = await backendOn(t, token, vendor, iv)
      for (const { by, sealed } of made) {
        // The vendor's mechanism uses the first 12 bytes of any IV.
        if (iv === 'cloudhsm-gcm' && sealed.iv.length !== 12) continue
        const back = await decrypt({ backend } as never, KEY, sealed)
        t.ok(back.equals(plaintext), `${iv} on ${vendor} reads ${by}`)
      }
      keys.close()
    }
  },
)

for (const vendor of ['none', 'luna', 'cloudhsm'] as const) {
  void t.test(`a mode that is wrong for the HSM is refused at the start (${vendor})`, async (t) => {
    const token = await tokenWithKey(t)
    const right = new Set(MODES.filter((mode) => mode.vendor === vendor).map(({ iv }) => iv))
    const wrong = new Set(MODES.map(({ iv }) => iv).filter((iv) => !right.has(iv)))
    for (const iv of wrong) {
      token.control.pretend(vendor)
      const refused = await openKeysOn(t, token, { iv }).then(
        () => undefined,
        (error: unknown) => error as Error,
      )
      t.match(refused, refusal('MISCONFIGURED'), iv)
    }
    t.equal(token.control.count('C_Login').failed, 0)
  })
}
