/** Runs the key backend contract on a SoftHSM token. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { createSoftHsm } from '../support/pkcs11/tokens.ts'
import { tokenContract } from './token-backend.ts'

t.jobs = 1

tokenContract({ name: 'SoftHSM2', create: (t) => createSoftHsm(t) })
