/** Tests that a removed webhook stops at once, even if events are waiting for its receiver. */
// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import type { WebhookConfig } from '../../../../src/config/config.ts'
import { systemClock as clock } from '../../../../src/core/clock.ts'
import { silentLogger } from '../../../../src/core/logger.ts'
import { Secret } from '../../../../src/core/secret.ts'
import { createWebhooks } from '../../../../src/observability/webhooks/webhooks.ts'
import { appendEvent } from '../../../../src/store/event-log.ts'
import { eventually } from '../../../support/server.ts'
import { storeFolder } from '../../../support/store.ts'

void t.test('a removed webhook does not wait for its backlog', async (t) => {
  let requests = 0
  const server = createServer(() => (requests += 1)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  const store = await (await storeFolder(t)).open()
  const url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}/`
  const config: WebhookConfig = {
    ...{ name: 'pager', events: ['kill'], timeoutMs: 600_000, giveUpAfterMs: 3_600_000 },
    to: { generic: { url, key: new Secret(Buffer.alloc(32).toString('base64')) } },
  }
  const warnings: string[] = []
  const webhooks = await createWebhooks({
    ...{ configs: [config], store, clock, instanceId: 'me', drillKey: 'drill', proxy: undefined },
    logger: { ...silentLogger, warn: (message) => warnings.push(message) },
  })
  t.teardown(() => webhooks.stop())
  webhooks.start(() => undefined)
  await eventually(() => webhooks.stats()[0]?.pending === 0)
  for (let i = 0; i < 3; i++) {
    await store.change((transaction, epoch) =>
      appendEvent(transaction, store.sealing, {
        ...{ at: clock.now(), epoch, kind: 'kill', operator: 'alice', detail: {} },
      }),
    )
  }
  await eventually(() => {
    webhooks.onChange()
    return requests === 1
  })
  await webhooks.apply([])
  t.same(webhooks.stats(), [])
  t.equal(requests, 1, 'the backlog is not sent')
  t.same(warnings, [], 'the receiver is not blamed')
})
