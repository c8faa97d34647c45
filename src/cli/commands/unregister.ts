/** Implements `latchkey unregister`. */
// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '../../core/clock.ts'
import { pause } from '../../core/deadline.ts'
import {
  type Command,
  UsageError,
  YES_FLAG,
  loadContextConfig,
  stringFlag,
} from '../../terminal/command.ts'
import { KMS_FLAGS, regionOf, storeName } from '../../terminal/flags/kms.ts'
import { RegistrationError } from '../../tools/register/explanations.ts'
import { type KmsApi, type KmsKeySummary, openKms } from '../../tools/register/kms-api.ts'

export const unregister: Command = {
  flags: {
    'schedule-key-deletion': {
      type: 'string',
      value: 'DAYS',
      description:
        "Schedule the deletion of the key store's KMS keys in 7 to 30 days. Data that they encrypted is then lost.",
    },
    ...YES_FLAG,
    ...KMS_FLAGS,
  },
  examples: [
    'latchkey unregister --name payroll --region eu-west-1',
    'latchkey unregister --name payroll --region eu-west-1 --yes',
    'latchkey unregister --name payroll --schedule-key-deletion 30 --yes',
  ],
  async run(context) {
    const { output } = context
    const days = parseDays(stringFlag(context, 'schedule-key-deletion'))
    const name = storeName(context, await loadContextConfig(context))
    const kms = await openKms(regionOf(context))
    try {
      const store = await kms.findStore(name)
      if (store === undefined) {
        output.result(`KMS in ${kms.region} has no key store ${name}`, { name, deleted: false })
        return
      }
      const id = store.CustomKeyStoreId ?? ''
      const { keys, unreadable } = await kms.listKeys(id)
      const inUse = keys.filter(({ state }) => state !== 'PendingDeletion')
      if (context.flags['yes'] !== true) {
        output.result(describePlan(name, keys, unreadable, days), {
          ...{ name, customKeyStoreId: id, done: false },
          ...{ keys, unreadableKeys: unreadable },
        })
        return
      }
      if (inUse.length > 0 && days === undefined) throw hasKeys(name, inUse)
      for (const { keyId, arn } of inUse) {
        const date = await kms.scheduleKeyDeletion(keyId, days ?? 30)
        output.line(`scheduled ${arn} for deletion on ${date?.toISOString() ?? 'an unknown date'}`)
      }
      if (keys.length > 0) {
        const left = (await kms.listKeys(id)).keys
        const last = Math.max(...left.map(({ deletionAt }) => deletionAt?.getTime() ?? 0))
        output.result(
          `${name} stays until its KMS keys are deleted: run this command again after ${new Date(last).toISOString()}. Until then, aws kms cancel-key-deletion restores a key.`,
          { name, customKeyStoreId: id, deleted: false, keys: left },
        )
        return
      }
      if (unreadable > 0) throw unknownKeys(name, unreadable)
      await disconnect(kms, id)
      await kms.deleteStore(id)
      output.result(
        `deleted ${name} (${id}) from KMS; its credentials in Latchkey are unchanged (to list them, run latchkey credentials list)`,
        { name, customKeyStoreId: id, deleted: true },
      )
    } finally {
      kms.close()
    }
  },
}

const DISCONNECTED_WITHIN_MS = 600_000
const PAUSE_MS = 1000

async function disconnect(kms: KmsApi, id: string): Promise<void> {
  const until = systemClock.monotonic() + DISCONNECTED_WITHIN_MS
  for (;;) {
    const { ConnectionState: state = '' } = await kms.getStore(id)
    if (state === 'DISCONNECTED') return
    if (state !== 'DISCONNECTING') await kms.disconnectStore(id)
    else if (systemClock.monotonic() > until) {
      throw new RegistrationError('CONNECT_TIMEOUT', `KMS still reports the state ${state}`, {
        hint: 'run the same command again later',
      })
    } else await pause(PAUSE_MS)
  }
}

function parseDays(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const days = Number(text)
  if (!/^\d{1,2}$/.test(text) || days < 7 || days > 30) {
    throw new UsageError('USAGE', '--schedule-key-deletion: expected a number of days from 7 to 30')
  }
  return days
}

function hasKeys(name: string, keys: readonly KmsKeySummary[]): RegistrationError {
  const list = keys.map(({ arn, xksKeyId }) => `${arn} (${xksKeyId})`).join(', ')
  return new RegistrationError('STORE_HAS_KEYS', `${name} has KMS keys: ${list}`, {
    hint: 'to delete them and lose all data that they encrypted, pass --schedule-key-deletion DAYS',
  })
}

/** Disconnecting makes every key unusable at once, so the command refuses if it cannot read every key. */
function unknownKeys(name: string, count: number): RegistrationError {
  return new RegistrationError(
    'STORE_HAS_KEYS',
    `${String(count)} KMS keys cannot be read and might belong to ${name}`,
    { hint: 'run the command as a principal with kms:DescribeKey on all keys' },
  )
}

function describePlan(
  name: string,
  keys: readonly KmsKeySummary[],
  unreadable: number,
  days: number | undefined,
): string {
  const inUse = keys.filter(({ state }) => state !== 'PendingDeletion')
  const lines = keys.map(
    ({ arn, xksKeyId, state, deletionAt }) =>
      `  ${arn}  ${xksKeyId}  ${state}${deletionAt === undefined ? '' : ` until ${deletionAt.toISOString()}`}`,
  )
  return [
    ...(keys.length === 0 ? [`${name} has no KMS keys.`] : [`${name} has KMS keys:`, ...lines]),
    ...(unreadable === 0 ? [] : [`${String(unreadable)} keys cannot be read.`]),
    ...(inUse.length === 0
      ? []
      : [
          days === undefined
            ? 'The command would not delete the key store; pass --schedule-key-deletion DAYS to delete its KMS keys too.'
            : `The command would schedule their deletion in ${String(days)} days. Data that they encrypted is then lost.`,
        ]),
    ...(keys.length === 0 ? ['The command would disconnect and delete the key store.'] : []),
    'Add --yes to do it.',
  ].join('\n')
}
