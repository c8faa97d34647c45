/** Uses a token in a bare pkcs11js loop in a single process, to show what an HSM costs without a proxy. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { createRequire } from 'node:module'
import type * as Pkcs11 from 'pkcs11js'

export interface LoopPlan {
  readonly module: string
  readonly label: string
  readonly pin: string
  readonly keyLabel: string
  readonly seconds: number
  /** `encrypt` also decrypts, because Latchkey's Encrypt verifies its own result. */
  readonly operation: 'encrypt' | 'decrypt'
}

const PLAINTEXT_BYTES = 32
/** Size of the AAD in requests.ts once Latchkey has framed it. */
const AAD_BYTES = 2 + 96 + 1 + 5
const TURNS_PER_LOOK = 100

function run(plan: LoopPlan): number {
  const pkcs11 = createRequire(import.meta.url)('pkcs11js') as typeof Pkcs11
  const module = new pkcs11.PKCS11()
  module.load(plan.module)
  module.C_Initialize({ flags: pkcs11.CKF_OS_LOCKING_OK })
  const slot = module
    .C_GetSlotList(true)
    .find((one) => module.C_GetTokenInfo(one).label.trimEnd() === plan.label)
  if (slot === undefined) throw new Error(`no token ${plan.label}`)
  const session = module.C_OpenSession(slot, pkcs11.CKF_SERIAL_SESSION | pkcs11.CKF_RW_SESSION)
  module.C_Login(session, pkcs11.CKU_USER, plan.pin)
  module.C_FindObjectsInit(session, [{ type: pkcs11.CKA_LABEL, value: plan.keyLabel }])
  const [key] = module.C_FindObjects(session, 1)
  module.C_FindObjectsFinal(session)
  if (key === undefined) throw new Error(`no key ${plan.keyLabel}`)

  const [plaintext, aad] = [randomBytes(PLAINTEXT_BYTES), randomBytes(AAD_BYTES)]
  const [sealedRoom, openedRoom] = [Buffer.alloc(96), Buffer.alloc(96)]
  const withIv = (iv: Buffer) => ({
    mechanism: pkcs11.CKM_AES_GCM,
    parameter: { type: pkcs11.CK_PARAMS_AES_GCM_v240, iv, ivBits: 96, aad, tagBits: 128 },
  })
  const encrypt = () => {
    const mechanism = withIv(randomBytes(12))
    module.C_EncryptInit(session, mechanism, key)
    return { mechanism, sealed: module.C_Encrypt(session, plaintext, sealedRoom) }
  }
  const decrypt = ({ mechanism, sealed }: ReturnType<typeof encrypt>) => {
    module.C_DecryptInit(session, mechanism, key)
    module.C_Decrypt(session, sealed, openedRoom)
  }
  const made = encrypt()
  const turn = () => {
    decrypt(plan.operation === 'encrypt' ? encrypt() : made)
  }
  const startedAt = performance.now()
  const until = startedAt + plan.seconds * 1000
  let turns = 0
  for (; performance.now() < until; turns += TURNS_PER_LOOK) {
    for (let i = 0; i < TURNS_PER_LOOK; i++) turn()
  }
  return turns / ((performance.now() - startedAt) / 1000)
}

process.once('message', (plan) => {
  process.send?.({ rate: run(plan as LoopPlan) }, () => {
    process.disconnect()
  })
})
