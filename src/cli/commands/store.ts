/** Implements `latchkey store backup | verify | recover | copy`. */
// SPDX-License-Identifier: Apache-2.0
import { toStoreOptions } from '../../app/store.ts'
import type { Config } from '../../config/config.ts'
import type { RecoveryPlace, RecoveryPlan } from '../../killswitch/operator/recovery.ts'
import { VERSION } from '../../openapi/document.gen.ts'
import type { Manifest } from '../../store/backup-file.ts'
import {
  type Command,
  CONFIG_FLAG,
  type Context,
  loadControlConfig,
  stringFlag,
  UsageError,
  YES_FLAG,
} from '../../terminal/command.ts'
import { parseReason, REASON_FLAGS } from '../../terminal/flags/scope.ts'

function createProgress({ output }: Context): (rows: number) => void {
  return (rows) => {
    output.progress(`${String(rows)} rows`)
  }
}

export const storeBackup: Command = {
  operands: ['FILE'],
  flags: { ...CONFIG_FLAG },
  examples: ['latchkey store backup /backup/latchkey-2027-01-31.jsonl'],
  async run(context) {
    const path = operand(context)
    const { backUpStore } = await import('../../killswitch/operator/recovery.ts')
    const onProgress = createProgress(context)
    const config = await loadControlConfig(context)
    const options = await toStoreOptions(config, ONE)
    const manifest = await backUpStore(options, path, { release: VERSION, onProgress })
    context.output.result(`backed up and verified: ${describe(manifest)}`, manifest)
  },
}

export const storeVerify: Command = {
  operands: ['FILE'],
  flags: { ...CONFIG_FLAG },
  examples: ['latchkey store verify /backup/latchkey-2027-01-31.jsonl'],
  async run(context) {
    const { verifyBackup } = await import('../../store/backup.ts')
    const options = await toStoreOptions(await loadControlConfig(context))
    const manifest = await verifyBackup(operand(context), options, createProgress(context))
    context.output.result(`good backup: ${describe(manifest)}`, manifest)
  },
}

export const storeRecover: Command = {
  operands: ['FILE'],
  flags: { ...REASON_FLAGS, ...YES_FLAG, ...CONFIG_FLAG },
  examples: [
    'latchkey store recover /backup/latchkey-2027-01-31.jsonl --reason "disk failed"',
    'latchkey store recover /backup/latchkey-2027-01-31.jsonl --reason "disk failed" --yes',
  ],
  async run(context) {
    const path = operand(context)
    const by = parseReason(context)
    const { planRecovery, recoverStore } = await import('../../killswitch/operator/recovery.ts')
    const onProgress = createProgress(context)
    const config = await loadControlConfig(context)
    const place = await toPlace(config)
    const plan = await planRecovery(place, path, onProgress)
    if (context.flags['yes'] !== true) {
      const text = `${toText(plan)}\nwould load the backup and let servers continue from it. Stop every process that uses the store, then add --yes.`
      context.output.result(text, { ...plan, done: false })
      return
    }
    const done = await recoverStore(place, path, { ...by, plan, onProgress })
    const kept = done.kept === undefined ? [] : [`the previous file is now ${done.kept}`]
    const end = `recovered; servers continue from epoch ${String(done.epoch)}`
    context.output.result([toText(plan), ...kept, end].join('\n'), { ...plan, ...done, done: true })
  },
}

export const storeCopy: Command = {
  flags: {
    'to-config': {
      type: 'string',
      value: 'FILE',
      description:
        'Configuration whose store is the target (required). It must have the same master key.',
    },
    ...CONFIG_FLAG,
  },
  examples: ['latchkey store copy --to-config latchkey-postgres.yaml'],
  async run(context) {
    const target = stringFlag(context, 'to-config')
    if (target === undefined) throw new UsageError('USAGE', '--to-config is missing')
    const { copyStore } = await import('../../killswitch/operator/recovery.ts')
    const config = await loadControlConfig(context)
    const { loadControlConfig: load } = await import('../../config/load.ts')
    const to = await load(target, context.environment)
    const draft = `${target}.copy-${String(process.pid)}`
    const manifest = await copyStore(
      await toStoreOptions(config, ONE),
      await toStoreOptions(to, ONE),
      draft,
      {
        release: VERSION,
        onProgress: createProgress(context),
      },
    )
    context.output.result(`copied and verified: ${describe(manifest)}`, manifest)
  },
}

const ONE = { connections: 'one' } as const

async function toPlace(config: Config): Promise<RecoveryPlace> {
  const { highWaterFile } = config.control
  return { options: await toStoreOptions(config, ONE), highWaterFile }
}

function operand({ operands: [path = ''] }: Context): string {
  if (path === '') throw new UsageError('USAGE', 'expected FILE')
  return path
}

function describe({ storeId, epoch, createdAt, rows }: Manifest): string {
  const count = (name: string) => String(rows[name] ?? 0)
  return `store ${storeId} at epoch ${String(epoch)}, ${new Date(createdAt).toISOString()}; ${count('external_keys')} keys, ${count('key_versions')} versions, ${count('credentials')} credentials, ${count('switches')} switches`
}

function toText({ manifest, seenEpoch, losses, unreadable, isOccupied }: RecoveryPlan): string {
  const lines = [`good backup: ${describe(manifest)}`]
  if (seenEpoch === undefined) lines.push("this host has no high-water mark of the backup's store")
  else if (seenEpoch > manifest.epoch) {
    const missing = String(seenEpoch - manifest.epoch)
    lines.push(
      `this host has seen epoch ${String(seenEpoch)}: at least ${missing} changes are not in the backup`,
    )
  }
  if (unreadable !== undefined) lines.push(`the existing store cannot be read: ${unreadable}`)
  if (!isOccupied || losses === undefined) {
    lines.push(
      'no store to compare with: repeat every kill, revocation and rotation made since the backup',
    )
    return lines.join('\n')
  }
  const named = (what: string, names: readonly string[]) =>
    names.length === 0 ? [] : [`${what}: ${names.join(', ')}`]
  const found = [
    ...named('kills that would be lifted', losses.kills),
    ...named("dead man's switches that would be removed", losses.deadManSwitches),
    ...named('revoked credentials that would be valid again', losses.revocations),
    ...named('disabled keys that would be enabled again', losses.disabledKeys),
    ...named('keys whose dates would change', losses.changedDates),
    ...named('retired key versions that would decrypt again', losses.retirements),
    ...named(
      'key versions that would be lost, with everything that they encrypted',
      losses.versions,
    ),
    ...named('destroyed key versions that would exist again', losses.destroyedVersions),
    ...losses.events.map(
      ({ at, kind, operator }) =>
        `lost event: ${new Date(at).toISOString()} ${kind} by ${operator}`,
    ),
  ]
  return [...lines, ...(found.length === 0 ? ['nothing would be lost'] : found)].join('\n')
}
