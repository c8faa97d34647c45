/** Implements `latchkey rotate-credentials`. */
// SPDX-License-Identifier: Apache-2.0
import { openAdministration } from '../../app/administration.ts'
import { systemClock } from '../../core/clock.ts'
import { type Command, YES_FLAG, findKeyStore, loadContextConfig } from '../../terminal/command.ts'
import { parseOperator } from '../../terminal/flags/scope.ts'
import { KMS_FLAGS, regionOf, storeName } from '../../terminal/flags/kms.ts'
import { durationFlag } from '../../terminal/flags/time.ts'
import { RegistrationError } from '../../tools/register/explanations.ts'
import { openKms } from '../../tools/register/kms-api.ts'
import { rotateCredential } from '../../tools/register/rotation.ts'

/** Several times as long as KMS's health check interval, which is a few minutes. */
const QUIET_MS = 15 * 60_000
const TIMEOUT_MS = 2 * 3_600_000
const PAUSE_MS = 10_000
const TELL_EVERY_MS = 30_000

export const rotateCredentials: Command = {
  flags: {
    quiet: {
      type: 'string',
      value: 'TIME',
      description: 'How long the old credential must be unused on every instance (default: 15m).',
    },
    timeout: {
      type: 'string',
      value: 'TIME',
      description:
        'How long to wait until the old credential is unused (default: 2h). If that is not enough, run the same command again to continue.',
    },
    restart: {
      type: 'boolean',
      description: 'Abandon a rotation in progress, without changing its credentials.',
    },
    ...YES_FLAG,
    ...KMS_FLAGS,
  },
  examples: [
    'latchkey rotate-credentials --name payroll --region eu-west-1',
    'latchkey rotate-credentials --name payroll --region eu-west-1 --yes',
  ],
  async run(context) {
    const { output } = context
    const quietMs = durationFlag(context, 'quiet', QUIET_MS)
    const timeoutMs = durationFlag(context, 'timeout', TIMEOUT_MS)
    const config = await loadContextConfig(context)
    const keyStore = findKeyStore(context, config)
    const name = storeName(context, config)
    const administration = await openAdministration(config, parseOperator(context))
    const kms = await openKms(regionOf(context))
    try {
      const store = await kms.findStore(name)
      if (store === undefined) {
        throw new RegistrationError(
          'STORE_UNKNOWN',
          `KMS in ${kms.region} has no key store ${name}`,
          {
            hint: 'create one with latchkey register, or select another with --name and --region',
          },
        )
      }
      const customKeyStoreId = store.CustomKeyStoreId ?? ''
      const { rotations } = administration
      const begun = await rotations.find(kms.region, customKeyStoreId)
      if (context.flags['yes'] !== true) {
        const current = store.XksProxyConfiguration?.AccessKeyId ?? 'none'
        output.result(describePlan(name, current, begun !== undefined), {
          ...{ name, customKeyStoreId, accessKeyId: current, done: false },
          ...(begun === undefined ? {} : { begun }),
        })
        return
      }
      if (begun !== undefined && context.flags['restart'] === true) await rotations.remove(begun)
      const done = await rotateCredential({
        kms,
        clock: systemClock,
        records: rotations,
        credentials: administration.credentials,
        loadUses: administration.credentialUses,
        keyStore: keyStore.name,
        ...{ customKeyStoreId, quietMs, timeoutMs, pauseMs: PAUSE_MS },
        pollIntervalMs: config.store.pollIntervalMs,
        tell: createTeller(output.line),
      })
      output.result(`Rotated: KMS now signs with ${done.newAccessKeyId ?? ''}.`, {
        ...{ name, customKeyStoreId, done: true },
        accessKeyId: done.newAccessKeyId,
        revoked: done.oldAccessKeyId,
      })
    } finally {
      kms.close()
      await administration.close()
    }
  },
}

/** Prints every finished step, and periodically the reason for waiting. */
function createTeller(line: (text: string) => void) {
  let toldAt = -Infinity
  return (step: string, detail: string, isDone: boolean) => {
    const now = systemClock.monotonic()
    if (!isDone && now - toldAt < TELL_EVERY_MS) return
    if (!isDone) toldAt = now
    line(`  ${isDone ? '✓' : '·'} ${step.padEnd(22)} ${detail}`)
  }
}

function describePlan(name: string, current: string, isBegun: boolean): string {
  return [
    `KMS signs requests to ${name} with ${current}.`,
    isBegun
      ? 'A rotation is in progress and would be continued. Its steps, each taken only after the previous one is confirmed:'
      : 'The rotation would take these steps, each only after the previous one is confirmed:',
    '  1. create a new credential next to the old one',
    '  2. give it to KMS with UpdateCustomKeyStore; the key store stays connected',
    '  3. wait until the old one has been unused for a while and the new one is in use',
    '  4. revoke the old one',
    'Add --yes to do it.',
  ].join('\n')
}
