/**
 * Tests with random fleets that a version is never reported as unused for a period in which it was used to decrypt.
 * Processes crash with unwritten uses, stop, are declared dead, and return.
 */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { type VersionLedger, createVersionLedger } from '../../src/usage/version-ledger.ts'
import {
  loadLedgerState,
  loadVersionUses,
  reopenWriter,
  tendLedger,
  toQuiet,
  writeLedger,
} from '../../src/usage/version-table.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { storeFolder } from '../support/store.ts'

t.setTimeout(200_000)

const RUNS = 40
const PROCESSES = 3
const MINUTE = 60_000

interface Step {
  readonly what: string
  readonly process: number
  readonly minutes: number
}

const step: fc.Arbitrary<Step> = fc.record({
  what: fc.constantFrom(
    'serve',
    'serve',
    'serve',
    'flush',
    'flush',
    'crash',
    'stop',
    'dismiss',
    'lose',
    'tend',
  ),
  process: fc.integer({ min: 0, max: PROCESSES - 1 }),
  minutes: fc.integer({ min: 0, max: 40 }),
})

interface Process {
  readonly id: string
  readonly ledger: VersionLedger
}

void t.test(
  '[property] no version with a Decrypt in the window is reported as unused',
  async (t) => {
    const { database } = await (await storeFolder(t)).open()
    let claims = 0
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 60 }), async (steps) => {
        await database.transaction(async (transaction) => {
          await transaction.execute('DELETE FROM version_uses')
          await transaction.execute('DELETE FROM ledger_writers')
        })
        const clock = new FakeClock()
        const registered = new Set<string>()
        const processes: (Process | undefined)[] = []
        const decrypts: number[] = []
        let isStoreLost = false
        let started = 0

        const start = async (): Promise<Process> => {
          const id = `p${String(++started)}`
          const ledger = createVersionLedger({
            ...{ id, clock, maxPending: 100 },
            write: (uses, writer) =>
              isStoreLost ? Promise.reject(new Error('lost')) : writeLedger(database, uses, writer),
          })
          await ledger.open()
          registered.add(id)
          return { id, ledger }
        }

        const tend = () => tendLedger(database, () => Promise.resolve([...registered]), clock.now())

        for (const { what, process, minutes } of steps) {
          clock.advance(minutes * MINUTE)
          const one = processes[process]
          if (what === 'serve') {
            // A server that cannot reach the store cannot register, so it cannot start.
            if (isStoreLost && (one === undefined || !registered.has(one.id))) continue
            const server = one ?? (processes[process] = await start())
            // A process that was declared dead must register again before it serves.
            if (!registered.has(server.id)) {
              await database.transaction((transaction) => reopenWriter(transaction, server.id))
              registered.add(server.id)
            }
            server.ledger.record({
              ...{ operation: 'Decrypt', keyStore: 'demo', keyId: 'k', keyVersion: 1, status: 200 },
            })
            decrypts.push(clock.now())
          } else if (what === 'flush') await one?.ledger.flush()
          else if (what === 'tend') await tend()
          else if (what === 'lose') isStoreLost = !isStoreLost
          else if (what === 'dismiss' && one !== undefined) registered.delete(one.id)
          else if (what === 'crash' || what === 'stop') {
            if (one === undefined) continue
            registered.delete(one.id)
            if (what === 'stop') await one.ledger.close()
            processes[process] = undefined
          }
          const { state, uses } = await database.snapshot(async (reader) => ({
            state: await loadLedgerState(reader, { now: clock.now(), registered: [...registered] }),
            uses: await loadVersionUses(reader, 'demo', 'k'),
          }))
          const quiet = toQuiet(state, uses)
          if (quiet.ms === 0 || quiet.until === undefined) continue
          claims += 1
          const { since, until } = quiet
          const hidden = decrypts.find((at) => at > since && at < until)
          if (hidden !== undefined) {
            throw new Error(
              `quiet from ${String(since)} to ${String(until)}, Decrypt at ${String(hidden)}`,
            )
          }
        }
      }),
      { numRuns: RUNS },
    )
    t.ok(claims > RUNS, `${String(claims)} claims were checked`)
  },
)

void t.test('a process that is registered without a ledger makes everything unknown', async (t) => {
  const { database } = await (await storeFolder(t)).open()
  const clock = new FakeClock()
  const load = (registered: readonly string[]) =>
    database.snapshot((reader) => loadLedgerState(reader, { now: clock.now(), registered }))
  t.match((await load([])).doubt, /has not started/)
  await tendLedger(database, () => Promise.resolve([]), clock.now())
  clock.advance(60 * MINUTE)
  t.match(await load([]), { knownUntil: clock.now() - 15 * MINUTE })
  t.match((await load(['old-release'])).doubt, /old-release keeps no ledger/)
  const ahead = {
    id: 'a',
    startedAt: clock.now(),
    flushedAt: clock.now() + 20 * MINUTE,
    isLast: false,
  }
  await writeLedger(database, [], ahead)
  t.match((await load(['a'])).doubt, /clock of the process a is ahead/)
})
