/**
 * The contract of `KeyBackend` as tests of tap. An implementation for another key manager calls
 * `keyBackendContract` in its own test file. `src/keys/suite` has the checks.
 */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import type { KeyBackendFixture, KeyBackendTraits } from '../../src/keys/suite/fixture.ts'
import { CHECKS } from '../../src/keys/suite/suite.ts'

export interface KeyBackendContract {
  /** Suffix of each test's name. */
  readonly name: string
  /** Returns two empty key stores for each test, and closes what it opens by `t.teardown`. */
  readonly create: (t: Test) => Promise<KeyBackendFixture>
  readonly traits: KeyBackendTraits
  /** Tests that this key manager cannot pass, each with the reason. */
  readonly skip: readonly { readonly test: string; readonly reason: string }[]
}

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
