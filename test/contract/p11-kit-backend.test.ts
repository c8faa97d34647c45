/** Runs the key backend contract on a SoftHSM token that is accessed through p11-kit-proxy. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { createSoftHsm, throughProxy } from '../support/pkcs11/tokens.ts'
import { tokenContract } from './token-backend.ts'

t.jobs = 1

tokenContract({
  name: 'SoftHSM2 through p11-kit-proxy',
  create: async (t) => throughProxy(await createSoftHsm(t)),
})
