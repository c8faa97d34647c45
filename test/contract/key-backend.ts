/**
 * The `KeyBackend` contract as tap tests. An implementation for another key manager calls `keyBackendContract` in its
 * own test file. The checks are in `src/keys/suite`.
 */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import type { KeyBackendFixture, KeyBackendTraits } from '../../src/keys/suite/fixture.ts'
import { CHECKS } from '../../src/keys/suite/suite.ts'

export interface KeyBackendContract {
  /** Suffix for each test name. */
  readonly name: string
  /** Returns two empty key stores for each test, and registers cleanup with `t.teardown`. */
  readonly create: (t: Test) => Promise<KeyBackendFixture>
  readonly traits: KeyBackendTraits
  /** Tests that this key manager cannot pass, each with a reason. */
  readonly skip: readonly { readonly test: string; readonly reason: string }[]
}

export function keyBackendContract({ name, create, traits, skip }: KeyBackendContract): void {
  void t.test(`each test skipped for ${name} exists in the suite`, (t) => {
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
