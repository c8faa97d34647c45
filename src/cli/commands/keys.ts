/** Implements `latchkey keys list | rotate | disable | enable | destroy-version | trust`. */
// SPDX-License-Identifier: Apache-2.0
import type { ExternalKeyId } from '../../core/ids.ts'
import type { KeyAdministration, KeySummary } from '../../keys/administration.ts'
import {
  ADD_YES,
  BACKEND_FLAG,
  type Command,
  type Context,
  DRY_RUN_FLAG,
  KEY_STORE_FLAG,
  UsageError,
  YES_FLAG,
  keyIdOperand,
  stringFlag,
  stringsFlag,
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
      description: 'Maximum number of keys to show (default: all).',
    },
    after: {
      type: 'string',
      value: 'KEY_ID',
      description: 'Show only keys whose id sorts after this one.',
    },
    group: {
      type: 'string',
      value: 'NAME',
      description: 'Show only the keys in this group (as defined in the policy document labels).',
    },
    tag: {
      type: 'string',
      isRepeatable: true,
      value: 'NAME=VALUE',
      description:
        'Show only the keys with this tag (as defined in the policy document labels). If the flag is repeated, show only keys that have all of the tags.',
    },
    ...FLAGS,
  },
  examples: [
    'latchkey keys list',
    'latchkey keys list --group finance --tag owner=payroll',
    'latchkey keys list --key-store demo --json',
    'latchkey keys list --limit 100 --after payroll-2026',
  ],
  async run(context) {
    const after = stringFlag(context, 'after')
    const limit = parseLimit(stringFlag(context, 'limit'))
    const isWanted = parseFilter(context)
    const all = await withAdministration(context, async (administration, keyStore) => {
      context.output.progress(`reading the keys of ${keyStore}`)
      const listed = await administration.keys(keyStore).listKeys()
      for (const warning of administration.warnings()) context.output.note(`warning: ${warning}`)
      return listed
    })
    const wanted = all.filter(isWanted)
    const left = after === undefined ? wanted : wanted.filter(({ keyId }) => keyId > after)
    const keys = left.slice(0, limit)
    const last = keys.at(-1)
    const more =
      last === undefined || keys.length === left.length
        ? []
        : [`${String(left.length - keys.length)} more keys; to see them, add --after ${last.keyId}`]
    const toText = () => context.output.fold([renderKeys(context, keys), ...more].join('\n'))
    context.output.result(toText, keys)
  },
}

/** Formats the table of keys, and what is wrong with any of them. */
function renderKeys({ output }: Context, keys: readonly KeySummary[]): string {
  const extra = EXTRA_COLUMNS.filter(({ valueOf }) => keys.some((key) => valueOf(key) !== ''))
  const rows = keys.map((key) => [
    key.keyId,
    key.problem?.kind ?? stateOf(key),
    usageOf(key),
    key.versions.map((v) => `${String(v.version)}:${v.state}`).join(' '),
    countOf(key),
    key.createdAt === undefined ? '-' : new Date(key.createdAt).toISOString(),
    ...extra.map(({ valueOf }) => valueOf(key) || '-'),
  ])
  const headings = [
    ...['KEY ID', 'STATUS', 'USAGE', 'VERSIONS', 'ENCRYPTIONS (AT MOST)', 'CREATED'],
    ...extra.map(({ heading }) => heading),
  ]
  const problems = keys.flatMap(({ keyId, problem }) =>
    problem === undefined ? [] : [`${keyId}: ${problem.reason}`],
  )
  return [output.table(headings, rows), ...problems].join('\n')
}

/** Columns that are shown only if a key has a value for them. */
const EXTRA_COLUMNS: readonly {
  readonly heading: string
  readonly valueOf: (key: KeySummary) => string
}[] = [
  { heading: 'ACTIVE FROM', valueOf: ({ activateAt }) => toTime(activateAt) },
  { heading: 'ACTIVE UNTIL', valueOf: ({ deactivateAt }) => toTime(deactivateAt) },
  { heading: 'GROUPS', valueOf: ({ groups = [] }) => groups.join(',') },
  {
    heading: 'TAGS',
    valueOf: ({ tags = {} }) =>
      Object.entries(tags)
        .map(([name, value]) => `${name}=${value}`)
        .join(','),
  },
]

function toTime(at: number | undefined): string {
  return at === undefined ? '' : new Date(at).toISOString()
}

/** @throws UsageError */
function parseFilter(context: Context): (key: KeySummary) => boolean {
  const group = stringFlag(context, 'group')
  const wanted = stringsFlag(context, 'tag').map((text) => {
    const at = text.indexOf('=')
    if (at < 1) throw new UsageError('USAGE', `--tag: expected NAME=VALUE, found ${text}`)
    return [text.slice(0, at), text.slice(at + 1)] as const
  })
  return ({ groups = [], tags = {} }) =>
    (group === undefined || groups.includes(group)) &&
    wanted.every(([name, value]) => Object.hasOwn(tags, name) && tags[name] === value)
}

function parseLimit(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text)
  throw new UsageError('INPUT_INVALID', `--limit: expected a positive whole number, found ${text}`)
}

export const keysRotate = changeCommand({
  name: 'keys rotate',
  done: 'rotated',
  asks: false,
  change: (keys, keyId) => keys.rotateKey(keyId),
})

export const keysDisable = changeCommand({
  name: 'keys disable',
  done: 'disabled',
  asks: true,
  change: (keys, keyId) => keys.setKeyStatus(keyId, 'DISABLED'),
})

export const keysEnable = changeCommand({
  name: 'keys enable',
  done: 'enabled',
  asks: true,
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
      throw new UsageError(
        'INPUT_INVALID',
        `expected a version number (a positive whole number), found ${String(context.operands[1])}`,
      )
    }
    if (context.flags['yes'] !== true) {
      context.output.result(
        `would destroy version ${String(version)} of ${keyId}: data that it encrypted could never be decrypted again. ${ADD_YES}`,
        { wouldDestroy: { keyId, version }, done: false },
      )
      return
    }
    await change(context, 'destroyed a version of', (keys) => keys.destroyVersion(keyId, version))
  },
}

export const keysTrust: Command = {
  operands: ['KEY_ID'],
  flags: { ...REASON_FLAGS, ...YES_FLAG, ...FLAGS },
  examples: [
    'latchkey keys trust payroll-2026 --reason "replaced after the HSM was lost, nothing to decrypt"',
    'latchkey keys trust payroll-2026 --reason "replaced after the HSM was lost" --yes',
  ],
  async run(context) {
    const keyId = keyIdOperand(context)
    const { reason, operator } = parseReason(context)
    if (context.flags['yes'] !== true) {
      await showKey(context, keyId, 'trust')
      return
    }
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
  /** Whether the command needs --yes, because it changes who can decrypt. */
  readonly asks: boolean
  readonly change: (keys: KeyAdministration, keyId: ExternalKeyId) => Promise<KeySummary>
}): Command {
  return {
    operands: ['KEY_ID'],
    flags: { ...(options.asks ? YES_FLAG : DRY_RUN_FLAG), ...FLAGS },
    examples: [
      `latchkey ${options.name} payroll-2026`,
      `latchkey ${options.name} payroll-2026 ${options.asks ? '--yes' : '--dry-run'}`,
    ],
    run: (context) => {
      const keyId = keyIdOperand(context)
      const { yes, 'dry-run': isDryRun } = context.flags
      const isShown = options.asks ? yes !== true : isDryRun === true
      if (isShown) return showKey(context, keyId, options.name)
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
  const problem = key.problem === undefined ? '' : `\n  ${key.problem.reason}`
  const how = context.flags['dry-run'] === true ? '' : `\n${ADD_YES}`
  context.output.result(`would ${verb} ${describeKey(key)}${problem}${how}`, {
    ...{ would: verb, key, done: false },
  })
}

async function change(
  context: Context,
  done: string,
  work: (keys: KeyAdministration) => Promise<KeySummary>,
): Promise<void> {
  const key = await withAdministration(context, ({ keys }, keyStore) => work(keys(keyStore)))
  context.output.result(`${done} ${describeKey(key)}`, key)
}

/** A disabled key cannot be used, regardless of its dates. */
function stateOf({ status, dateState }: KeySummary): string {
  return status === 'DISABLED' ? status : (dateState ?? status)
}

function usageOf(key: KeySummary): string {
  const usage = [key.canEncrypt ? 'encrypt' : '', key.canDecrypt ? 'decrypt' : '']
  return usage.filter((part) => part !== '').join(',') || 'none'
}

/** Key uses are not counted if the token generates the IVs itself. */
function countOf({ versions }: KeySummary): string {
  const counts = versions.map(({ encryptions }) => encryptions)
  if (counts.includes(undefined)) return '-'
  return String(counts.reduce((sum: number, count) => sum + (count ?? 0), 0))
}

/** Formats a key as one line. */
export function describeKey(key: KeySummary): string {
  const current = key.versions.find((version) => version.state === 'CURRENT')?.version
  return `${key.keyId}: ${stateOf(key)}, ${usageOf(key)}, version ${String(current)}`
}
