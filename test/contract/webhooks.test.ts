/** Tests which instance in a fleet delivers a store's events, on both engines. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import type { WebhookConfig } from '../../src/config/config.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { Secret } from '../../src/core/secret.ts'
import { createChannel } from '../../src/observability/webhooks/channel.ts'
import { createReceiver } from '../../src/observability/webhooks/receiver.ts'
import { appendEvent } from '../../src/store/event-log.ts'
import { startReceiver } from '../support/receiver.ts'
import { openPostgres, openSqlite } from './control-engines.ts'
import type { ControlFixture } from './control-fixture.ts'

t.setTimeout(120_000)

const GIVE_UP_MS = 3_600_000

async function setUp(t: Test, { store, clock }: ControlFixture) {
  const receiver = await startReceiver(t, { isPlain: true })
  const channel = async (owner: string, url: string) => {
    const key = new Secret(Buffer.alloc(32).toString('base64'))
    const config: WebhookConfig = {
      ...{ name: 'pager', to: { generic: { url, key } }, events: ['kill'] },
      ...{ timeoutMs: 20_000, giveUpAfterMs: GIVE_UP_MS },
    }
    const created = createChannel({
      ...{ config, store, clock, owner, logger: silentLogger, drillKey: 'drill' },
      ...{ receiver: await createReceiver(config), stopping: new AbortController().signal },
    })
    // A new webhook delivers only events created after its first run, so run it once before creating events.
    await created.run()
    return created
  }
  const kill = () =>
    store.change((transaction, epoch) =>
      appendEvent(transaction, store.sealing, {
        ...{ at: clock.now(), epoch, kind: 'kill', operator: 'alice', detail: {} },
      }),
    )
  return {
    ...{ receiver, kill },
    /** Creates an instance whose host cannot reach the receiver. */
    cutOff: (owner: string) => channel(owner, 'http://127.0.0.1:1/'),
    healthy: (owner: string) => channel(owner, receiver.url),
  }
}

function contract(name: string, open: (t: Test) => Promise<ControlFixture>): void {
  void t.test(
    `${name}: an instance that cannot reach the receiver leaves it to others`,
    async (t) => {
      const fixture = await open(t)
      const { receiver, kill, cutOff, healthy } = await setUp(t, fixture)
      const first = await cutOff('first')
      const second = await healthy('second')
      await kill()
      await first.run()
      t.match(first.stats(), { failed: 1, dropped: 0, pending: 1 })
      await first.run()
      t.match(first.stats(), { failed: 1 }, 'it pauses, and takes no claim')
      await second.run()
      t.equal(receiver.received.length, 1)
      t.match(second.stats(), { delivered: 1, pending: 0 })
      await first.run()
      t.match(first.stats(), { failed: 1, dropped: 0, pending: 0 })
    },
  )

  void t.test(
    `${name}: an old event is not abandoned before other instances have tried`,
    async (t) => {
      const fixture = await open(t)
      const { receiver, kill, cutOff, healthy } = await setUp(t, fixture)
      const first = await cutOff('first')
      const second = await healthy('second')
      await kill()
      fixture.clock.advance(2 * GIVE_UP_MS)
      await first.run()
      t.match(first.stats(), { failed: 1, dropped: 0 })
      await second.run()
      t.equal(receiver.received.length, 1)

      await kill()
      fixture.clock.advance(2 * GIVE_UP_MS)
      await first.run()
      t.match(first.stats(), { failed: 2, dropped: 1 }, 'nobody else took it for two hours')
    },
  )
}

contract('SQLite', openSqlite)
contract('PostgreSQL', openPostgres)
