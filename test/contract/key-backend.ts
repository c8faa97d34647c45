/**
 * The contract of `KeyBackend` as a test suite: an implementation of another key manager calls
 * `keyBackendContract` in a test file of its own. The checks use interfaces only.
 */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { CIPHERTEXT_CHECKS } from './key-backend-ciphertexts.ts'
import type { Checks, KeyBackendFixture, KeyBackendTraits } from './key-backend-fixture.ts'
import { KEY_CHECKS } from './key-backend-keys.ts'

export interface KeyBackendContract {
  /** Stands behind the name of each test. */
  readonly name: string
  /** Two empty key stores for each test; what it opens it closes by `t.teardown`. */
  readonly create: (t: Test) => Promise<KeyBackendFixture>
  readonly traits: KeyBackendTraits
  /** Tests that this key manager cannot pass, each with the reason. */
  readonly skip: readonly { readonly test: string; readonly reason: string }[]
}

const CHECKS: Checks = { ...CIPHERTEXT_CHECKS, ...KEY_CHECKS }

export function keyBackendContract({ name, create, traits, skip }: KeyBackendContract): void {
  void t.test(`each test that is left out for ${name} is one of the suite's`, (t) => {
    for (const { test, reason } of skip) {
      t.ok(test in CHECKS, test)
      t.ok(reason.length > 0, `${test}: ${reason}`)
    }
    t.end()
  })
  for (const [title, check] of Object.entries(CHECKS)) {
    if (skip.some(({ test }) => test === title)) continue
    void t.test(`${title} (${name})`, async (t) => {
      await check(t, await create(t), traits)
    })
  }
}
