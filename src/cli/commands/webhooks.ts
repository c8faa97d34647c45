/** Implements `latchkey webhooks test`. */
// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto'
import { LatchkeyError } from '../../core/errors.ts'
import {
  type Command,
  CONFIG_FLAG,
  loadContextConfig,
  stringFlag,
  UsageError,
} from '../../terminal/command.ts'
import { parseOperator, REASON_FLAGS } from '../../terminal/flags/scope.ts'

export const webhooksTest: Command = {
  flags: {
    webhook: {
      type: 'string',
      value: 'NAME',
      description: 'Webhook to test (default: all configured webhooks).',
    },
    operator: REASON_FLAGS.operator,
    ...CONFIG_FLAG,
  },
  examples: ['latchkey webhooks test', 'latchkey webhooks test --webhook pager --json'],
  async run(context) {
    const config = await loadContextConfig(context)
    const name = stringFlag(context, 'webhook')
    const webhooks = config.webhooks.filter((one) => name === undefined || one.name === name)
    if (webhooks.length === 0) {
      const names = config.webhooks.map((one) => one.name).join(', ')
      throw new UsageError(
        'INPUT_INVALID',
        config.webhooks.length === 0
          ? 'the configuration has no webhooks'
          : `there is no webhook ${name ?? ''}; expected one of ${names}`,
      )
    }
    const { testWebhooks } = await import('../../app/webhooks.ts')
    const about = { id: randomUUID(), operator: parseOperator(context) }
    const tests = await testWebhooks({ ...config, webhooks }, about)
    const rows = tests.map((one) => [
      ...[one.name, one.kind, one.delivered ? 'delivered' : (one.reason ?? '')],
    ])
    context.output.result(context.output.table(['WEBHOOK', 'KIND', 'RESULT'], rows), {
      ...about,
      tests,
    })
    const failed = tests.filter(({ delivered }) => !delivered).length
    if (failed > 0)
      throw new LatchkeyError(
        'WEBHOOK_FAILED',
        `${String(failed)} of the receivers did not accept the message`,
      )
  },
}
