/** `latchkey keys list | rotate | disable | enable | destroy-version | trust` */
// SPDX-License-Identifier: Apache-2.0
import type { ExternalKeyId } from '../../core/ids.ts'
import type { KeyAdministration, KeySummary } from '../../keys/administration.ts'
import {
  BACKEND_FLAG,
  type Command,
  type Context,
  DRY_RUN_FLAG,
  KEY_STORE_FLAG,
  UsageError,
  YES_FLAG,
  keyIdOperand,
  stringFlag,
} from '../../terminal/command.ts'
import { PLACE_FLAGS } from '../../terminal/contexts.ts'
import { parseReason, REASON_FLAGS } from '../../terminal/flags/scope.ts'
import { withAdministration } from '../with-administration.ts'

const FLAGS = { ...KEY_STORE_FLAG, ...BACKEND_FLAG, ...PLACE_FLAGS }

export const keysList: Command = {
  flags: {
    limit: {
      type: 'string',
      value: 'NUMBER',
      description: 'Largest number of keys to show (default: all).',
    },
    after: {
      type: 'string',
      value: 'KEY_ID',
      description: 'Show only the keys after this one, in the order of their ids.',
    },
    ...FLAGS,
  },
  examples: [
    'latchkey keys list',
    'latchkey keys list --key-store demo --json',
    'latchkey keys list --limit 100 --after payroll-2026',
  ],
  async run(context) {
    const after = stringFlag(context, 'after')
    const limit = parseLimit(stringFlag(context, 'limit'))
    const all = await withAdministration(context, (administration, keyStore) =>
      administration.keys(keyStore).listKeys(),
    )
    const left = after === undefined ? all : all.filter(({ keyId }) => keyId > after)
    const keys = left.slice(0, limit)
    const rows = keys.map((key) => [
      key.keyId,
      key.problem?.kind ?? key.status,
      usageOf(key),
      key.versions.map((v) => `${String(v.version)}:${v.state}`).join(' '),
      countOf(key),
      key.createdAt === undefined ? '-' : new Date(key.createdAt).toISOString(),
    ])
    const headings = ['KEY ID', 'STATUS', 'USAGE', 'VERSIONS', 'ENCRYPTIONS (AT MOST)', 'CREATED']
    const problems = keys.flatMap(({ keyId, problem }) =>
      problem === undefined ? [] : [`${keyId}: ${problem.reason}`],
    )
    const last = keys.at(-1)
    const more =
      last === undefined || keys.length === left.length
        ? []
        : [`${String(left.length - keys.length)} more: --after ${last.keyId}`]
    context.output.result(
      [context.output.table(headings, rows), ...problems, ...more].join('\n'),
      keys,
    )
  },
}

function parseLimit(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text)
  throw new UsageError('INPUT_INVALID', `--limit: expected a whole number from 1, found ${text}`)
}

export const keysRotate = changeCommand({
  name: 'keys rotate',
  done: 'rotated',
  change: (keys, keyId) => keys.rotateKey(keyId),
})

export const keysDisable = changeCommand({
  name: 'keys disable',
  done: 'disabled',
  change: (keys, keyId) => keys.setKeyStatus(keyId, 'DISABLED'),
})

export const keysEnable = changeCommand({
  name: 'keys enable',
  done: 'enabled',
  change: (keys, keyId) => keys.setKeyStatus(keyId, 'ENABLED'),
})

export const keysDestroyVersion: Command = {
  operands: ['KEY_ID', 'VERSION'],
  flags: { ...YES_FLAG, ...FLAGS },
  examples: [
    'latchkey keys destroy-version payroll-2026 1',
    'latchkey keys destroy-version payroll-2026 1 --yes',
  ],
  async run(context) {
    const keyId = keyIdOperand(context)
    const version = Number(context.operands[1])
    if (!Number.isInteger(version) || version < 1) {
      throw new UsageError('INPUT_INVALID', 'expected a version: a whole number from 1')
    }
    if (context.flags['yes'] !== true) {
      context.output.result(
        `would destroy version ${String(version)} of ${keyId}: what it encrypted could never be decrypted again. Add --yes to do it.`,
        { wouldDestroy: { keyId, version }, done: false },
      )
      return
    }
    await change(context, 'destroyed a version of', (keys) => keys.destroyVersion(keyId, version))
  },
}

export const keysTrust: Command = {
  operands: ['KEY_ID'],
  flags: { ...REASON_FLAGS, ...FLAGS },
  examples: [
    'latchkey keys trust payroll-2026 --reason "replaced after the HSM was lost, nothing to decrypt"',
  ],
  async run(context) {
    const keyId = keyIdOperand(context)
    const { reason, operator } = parseReason(context)
    const { key, changes } = await withAdministration(context, ({ keys }, keyStore) => {
      const { trustKey } = keys(keyStore)
      if (trustKey === undefined) {
        throw new UsageError('USAGE', `the keys of ${keyStore} are not on a token`)
      }
      return trustKey(keyId, { reason, operator })
    })
    const lines = changes.map(({ version, recorded, found }) => {
      if (found === undefined)
        return `  version ${String(version)}: gone from the token, no longer expected`
      return recorded === undefined
        ? `  version ${String(version)}: recorded as ${found}`
        : `  version ${String(version)}: recorded as ${found}, was ${recorded}`
    })
    const head =
      changes.length === 0
        ? `nothing to trust: the token has the recorded key\n${describeKey(key)}`
        : `trusted ${describeKey(key)}`
    context.output.result([head, ...lines].join('\n'), { key, changes })
  },
}

function changeCommand(options: {
  readonly name: string
  readonly done: string
  readonly change: (keys: KeyAdministration, keyId: ExternalKeyId) => Promise<KeySummary>
}): Command {
  return {
    operands: ['KEY_ID'],
    flags: { ...DRY_RUN_FLAG, ...FLAGS },
    examples: [
      `latchkey ${options.name} payroll-2026`,
      `latchkey ${options.name} payroll-2026 --dry-run`,
    ],
    run: (context) => {
      const keyId = keyIdOperand(context)
      if (context.flags['dry-run'] === true) return showKey(context, keyId, options.name)
      return change(context, options.done, (keys) => options.change(keys, keyId))
    },
  }
}

/** @throws UsageError if there is no such key */
async function showKey(context: Context, keyId: ExternalKeyId, name: string): Promise<void> {
  const all = await withAdministration(context, ({ keys }, keyStore) => keys(keyStore).listKeys())
  const key = all.find((one) => one.keyId === keyId)
  if (key === undefined) throw new UsageError('INPUT_INVALID', `there is no key ${keyId}`)
  const verb = name.split(' ').at(-1) ?? name
  context.output.result(`would ${verb} ${describeKey(key)}`, { would: verb, key, done: false })
}

async function change(
  context: Context,
  done: string,
  work: (keys: KeyAdministration) => Promise<KeySummary>,
): Promise<void> {
  const key = await withAdministration(context, ({ keys }, keyStore) => work(keys(keyStore)))
  context.output.result(`${done} ${describeKey(key)}`, key)
}

function usageOf(key: KeySummary): string {
  const usage = [key.canEncrypt ? 'encrypt' : '', key.canDecrypt ? 'decrypt' : '']
  return usage.filter((part) => part !== '').join(',') || 'none'
}

/** Uses of keys on a token that draws the IVs itself are not counted. */
function countOf({ versions }: KeySummary): string {
  const counts = versions.map(({ encryptions }) => encryptions)
  if (counts.includes(undefined)) return '-'
  return String(counts.reduce((sum: number, count) => sum + (count ?? 0), 0))
}

/** Formats a key as one line. */
export function describeKey(key: KeySummary): string {
  const current = key.versions.find((version) => version.state === 'CURRENT')?.version
  return `${key.keyId}: ${key.status}, ${usageOf(key)}, version ${String(current)}`
}
