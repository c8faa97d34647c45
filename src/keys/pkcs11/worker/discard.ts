/**
 * Finds and destroys the keys that `pkcs11 certify` created, by their labels. No other key is
 * touched.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../../core/clock.ts'
import { CERTIFY_PREFIX, type DiscardCall } from '../wire/calls.ts'
import { WorkerFailure } from '../wire/errors.ts'
import { readLabel } from './key-attributes.ts'
import { findObjects } from './key-handles.ts'
import { finalize, initialize, invoke, type Pkcs11Module } from './module.ts'
import { createBareSession } from './session.ts'

const TIME_MS = 300_000

/**
 * @returns the number of keys found
 * @throws WorkerFailure MISCONFIGURED if the prefix could match other keys
 */
export function discard(module: Pkcs11Module, call: DiscardCall, clock: Clock): number {
  const { prefix, destroys } = call
  if (!prefix.startsWith(CERTIFY_PREFIX)) {
    throw new WorkerFailure(
      'MISCONFIGURED',
      `expected a key prefix that starts with ${CERTIFY_PREFIX}, found ${JSON.stringify(prefix)}`,
    )
  }
  const { cryptoki, constants: c } = module
  initialize(module)
  try {
    const session = createBareSession(module, call, clock)
    return session.run('encrypt', clock.monotonic() + TIME_MS, (handle) => {
      const isKey = { type: c.CKA_CLASS, value: c.CKO_SECRET_KEY }
      const keys = findObjects(module, handle, [isKey], 'many')
      const own = keys.filter((key) => readLabel(module, handle, key).startsWith(prefix))
      let failure: unknown
      for (const key of destroys ? own : []) {
        try {
          invoke('C_DestroyObject', () => {
            cryptoki.C_DestroyObject(handle, key)
          })
        } catch (error) {
          // Throw the error below, once the other keys are destroyed.
          failure ??= error
        }
      }
      if (failure instanceof Error) throw failure
      return own.length
    })
  } finally {
    finalize(module)
  }
}
