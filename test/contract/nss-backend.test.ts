/** Runs the key backend contract on an NSS token. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { createNss } from '../support/pkcs11/tokens.ts'
import { tokenContract } from './token-backend.ts'

t.jobs = 1

tokenContract({ name: 'NSS softokn', create: createNss })
