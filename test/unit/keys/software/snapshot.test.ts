/** Tests that changed keys are applied in slices, and that revocations are applied first. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { turn } from '../../../../src/core/slices.ts'
import { BackendError } from '../../../../src/keys/errors.ts'
import { applyRows, type LoadedKey, type Snapshot } from '../../../../src/keys/software/snapshot.ts'
import { UseCounter } from '../../../../src/keys/software/use-counter.ts'
import type { Row } from '../../../../src/store/database.ts'
import { createSealing } from '../../../../src/store/sealing.ts'

const deps = {
  sealing: createSealing(Buffer.alloc(32, 1)),
  createUses: () =>
    new UseCounter({
      ...{ blockUses: 1, maxUses: 1, onNearLimit: () => undefined },
      reserve: () => Promise.reject(new Error('nothing is used')),
    }),
}

const keyRow = (id: string, more: Row = {}): Row => ({
  ...{ key_store: 'demo', key_id: id, status: 'ENABLED', can_encrypt: 1, can_decrypt: 1 },
  ...{ current_version: 1, created_at: 1, ...more },
})

const versionRow = (id: string, version: number, material: string | null): Row => ({
  ...{ key_store: 'demo', key_id: id, version, created_at: 1, destroyed_at: null },
  ...{ reserved_uses: 0, material },
})

const MANY = Array.from({ length: 1000 }, (_, i) => `a-${String(i)}`)

void t.test('in a change of a thousand keys, revocations come first', async (t) => {
  const snapshot: Snapshot = new Map()
  const names = ['disabled', 'narrowed', 'destroyed']
  await applyRows(
    { snapshot, before: snapshot },
    {
      keys: names.map((name) => keyRow(name)),
      versions: names.flatMap((name) => [versionRow(name, 1, 'AA=='), versionRow(name, 2, 'AA==')]),
    },
    deps,
  )
  const of = (name: string) => snapshot.get('demo')?.get(name)
  for (const isReset of [false, true]) {
    const next = isReset ? new Map<string, Map<string, LoadedKey>>() : snapshot
    const applying = applyRows(
      { snapshot: next, before: snapshot },
      {
        keys: [
          ...MANY.map((name) => keyRow(name)),
          keyRow('disabled', { status: 'DISABLED', current_version: 3 }),
          keyRow('narrowed', { can_decrypt: 0 }),
        ],
        versions: [
          ...MANY.map((name) => versionRow(name, 1, 'AA==')),
          versionRow('destroyed', 2, null),
        ],
      },
      deps,
    )
    while (of('destroyed')?.versions.has(2) !== false) await turn()
    t.match(of('disabled')?.row, { status: 'DISABLED', currentVersion: 1 })
    t.match(of('narrowed')?.row, { canEncrypt: true, canDecrypt: false })
    t.notOk(next.get('demo')?.has(MANY[0] ?? ''), 'nothing else is applied yet')
    await applying
    t.equal(next.get('demo')?.get('disabled')?.row.currentVersion, 3)
    t.equal(next.get('demo')?.size, MANY.length + (isReset ? 2 : 3))
    // Restore the initial state for the second round.
    for (const name of MANY) snapshot.get('demo')?.delete(name)
    await applyRows(
      { snapshot, before: snapshot },
      {
        keys: names.map((name) => keyRow(name)),
        versions: [versionRow('destroyed', 2, 'AA==')],
      },
      deps,
    )
  }
})

void t.test('a version that cannot be unwrapped is tried again at the next use', async (t) => {
  let isBroken = true
  const sealing = {
    ...deps.sealing,
    unwrap: () => {
      if (isBroken) throw new Error('no key of the store')
      return Buffer.alloc(32, 2)
    },
  }
  const snapshot: Snapshot = new Map()
  await applyRows(
    { snapshot, before: snapshot },
    { keys: [keyRow('one')], versions: [versionRow('one', 1, 'AA==')] },
    { ...deps, sealing },
  )
  const use = async () =>
    snapshot
      .get('demo')
      ?.get('one')
      ?.versions.get(1)
      ?.withKey(() => 'used')
  await t.rejects(use(), BackendError)
  isBroken = false
  t.equal(await use(), 'used')
})
