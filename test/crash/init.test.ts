/**
 * Kills `latchkey init` with SIGKILL. Running init a second time, as docs/store.md describes, must repair the result.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomInt } from 'node:crypto'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { join } from 'node:path'
import t from 'tap'
import { startLatchkey, workspace } from '../support/cli.ts'

const KILLS = 5

void t.test('init killed at random times', async (t) => {
  const found: string[] = []
  for (let kill = 1; kill <= KILLS; kill++) {
    await t.test(`kill ${String(kill)}`, async (t) => {
      const place = await workspace(t, { withoutStore: true })
      const store = join(place.folder, 'latchkey.db')
      const masterKey = join(place.folder, 'master.key')
      const dying = startLatchkey(t, ['init'], { cwd: place.folder })
      // The remaining work starts once the master key exists, so kill the command after that.
      while (!existsSync(masterKey) && dying.process.exitCode === null) await sleep(1)
      await sleep(randomInt(60))
      const { stderr } = await dying.ended('SIGKILL')
      t.equal(stderr, '')

      const key = readFileSync(masterKey)
      const opened = existsSync(store) ? await place.run('keys', 'list') : undefined
      if (opened?.code !== 0) {
        if (opened !== undefined)
          t.match(opened.stderr, /is empty|not a Latchkey store|lacks (its|the) fact/)
        rmSync(store, { force: true })
        if (key.length < 32) rmSync(masterKey)
        const again = await place.run('init', '--dir', place.folder)
        t.same([again.code, again.stderr], [0, ''])
      }
      if (key.length === 32) t.ok(readFileSync(masterKey).equals(key), 'the master key is kept')
      const made = await place.run('keys', 'create', 'first')
      t.same([made.code, made.stderr], [0, ''])
      found.push(opened === undefined ? 'no store' : opened.code === 0 ? 'a store' : 'a part')
    })
  }
  t.comment(found.join(', '))
})
