/** `latchkey keys versions | retire | approve-retirement | cancel-retirement | shred` */
// SPDX-License-Identifier: Apache-2.0
import { parseDuration } from '../../core/duration.ts'
import type { ExternalKeyId } from '../../core/ids.ts'
import {
  type RetirementDeps,
  type VersionReport,
  QUIET_LIMITS,
  WAIT_LIMITS,
  approveRetirement,
  cancelRetirement,
  reportVersions,
  requestRetirement,
} from '../../retirement/retirement.ts'
import { findCertificate } from '../../retirement/certificate.ts'
import { shredVersion } from '../../retirement/destruction.ts'
import type { Retirement, VersionName } from '../../retirement/retirement-table.ts'
import {
  CONFIG_FLAG,
  type Command,
  type Context,
  KEY_STORE_FLAG,
  UsageError,
  YES_FLAG,
  findKeyStore,
  keyIdOperand,
  loadContextConfig,
  stringFlag,
} from '../../terminal/command.ts'
import { REASON_FLAGS, parseActor, parseReason } from '../../terminal/flags/scope.ts'
import { toTable } from '../../terminal/output.ts'

const FLAGS = { ...KEY_STORE_FLAG, ...CONFIG_FLAG }
const { operator } = REASON_FLAGS
const DAY_MS = 86_400_000

type Name = VersionName & { readonly keyId: ExternalKeyId }

/** These commands work on the control store of this host: destruction needs its master key. */
async function run<T>(
  context: Context,
  work: (deps: RetirementDeps, keyStore: string) => Promise<T>,
): Promise<T> {
  const config = await loadContextConfig(context)
  const { name } = findKeyStore(context, config)
  const { withRetirement } = await import('../../app/retirement.ts')
  return withRetirement(config, name, (deps) => work(deps, name))
}

function parseVersion(context: Context): number {
  const version = Number(context.operands[1])
  if (Number.isInteger(version) && version >= 1) return version
  throw new UsageError('INPUT_INVALID', 'expected a version: a whole number from 1')
}

export const keysVersions: Command = {
  operands: ['KEY_ID'],
  flags: FLAGS,
  examples: ['latchkey keys versions payroll-2026'],
  async run(context) {
    const keyId = keyIdOperand(context)
    const found = await run(context, (deps, keyStore) => reportVersions(deps, keyStore, keyId))
    const headings = [
      'VERSION',
      'STATE',
      'LAST ENCRYPT',
      'LAST DECRYPT',
      'DECRYPTS',
      'QUIET SINCE',
      'KNOWN UNTIL',
    ]
    const callers = found.flatMap(({ version, uses }) =>
      uses.map(({ kind, caller, uses: count, firstAt, lastAt }) => [
        ...[String(version), kind, caller === '' ? '(unnamed)' : caller, String(count)],
        ...[toTime(firstAt), toTime(lastAt)],
      ]),
    )
    const doubts = new Set(found.flatMap(({ quiet }) => quiet.doubt ?? []))
    context.output.result(
      [
        toTable(headings, found.map(toRow)),
        ...(callers.length === 0
          ? []
          : ['', toTable(['VERSION', 'KIND', 'CALLER', 'USES', 'FIRST', 'LAST'], callers)]),
        ...[...doubts].map((doubt) => `unknown: ${doubt}`),
        ...found.flatMap(({ retirement }) =>
          retirement === undefined ? [] : ['', describeRetirement(retirement)],
        ),
      ].join('\n'),
      found,
    )
  },
}

function toRow({ version, state, uses, quiet }: VersionReport): readonly string[] {
  const last = (kind: string) => {
    const times = uses.flatMap((use) => (use.kind === kind ? [use.lastAt] : []))
    return times.length === 0 ? '-' : toTime(Math.max(...times))
  }
  const decrypts = uses.filter(({ kind }) => kind === 'decrypt')
  const count = decrypts.reduce((sum, one) => sum + one.uses, 0)
  return [
    ...[String(version), state, last('encrypt'), last('decrypt'), String(count)],
    ...[toTime(quiet.since), quiet.until === undefined ? 'unknown' : toTime(quiet.until)],
  ]
}

const toTime = (at: number) => new Date(at).toISOString()
const toDays = (ms: number) => `${String(Math.round(ms / DAY_MS))} d`

function describeRetirement(one: Retirement): string {
  const { version, requestedBy, requestedAt, approval, waitForMs, destroyingSince, reason } = one
  const asked = `version ${String(version)}: retirement requested by ${requestedBy.operator} at ${toTime(requestedAt)} (${reason})`
  if (destroyingSince !== undefined) {
    return `${asked}; its destruction began at ${toTime(destroyingSince)}, and latchkey keys shred completes it or prints its certificate`
  }
  if (approval === undefined) return `${asked}; waits for a second person`
  return `${asked}; approved by ${approval.operator}; refuses Decrypt since ${toTime(approval.at)}; can be destroyed from ${toTime(approval.at + waitForMs)} at the earliest`
}

export const keysRetire: Command = {
  operands: ['KEY_ID', 'VERSION'],
  flags: {
    'quiet-for': {
      type: 'string',
      value: 'DURATION',
      description:
        'How long the version must have decrypted nothing, from 24h to 365d (default: 90d).',
    },
    wait: {
      type: 'string',
      value: 'DURATION',
      description:
        'How long the version refuses Decrypt before it may be destroyed, from 7d to 30d (default: 14d).',
    },
    ...REASON_FLAGS,
    ...FLAGS,
  },
  examples: [
    'latchkey keys retire payroll-2026 1 --reason "everything was encrypted again"',
    'latchkey keys retire payroll-2026 1 --quiet-for 180d --wait 30d --reason "audit 2026"',
  ],
  async run(context) {
    const { reason, ...requestedBy } = parseReason(context)
    const quietForMs = parsePeriod(context, 'quiet-for', QUIET_LIMITS)
    const waitForMs = parsePeriod(context, 'wait', WAIT_LIMITS)
    const made = await run(context, (deps, keyStore) =>
      requestRetirement(deps, {
        ...nameOf(context, keyStore),
        ...{ reason, requestedBy, quietForMs, waitForMs },
      }),
    )
    const next = `latchkey keys approve-retirement ${made.keyId} ${String(made.version)}`
    context.output.result(
      `requested; nothing was decrypted for ${toDays(quietForMs)}\na second person approves it: ${next}`,
      made,
    )
  },
}

function nameOf(context: Context, keyStore: string): Name {
  return { keyStore, keyId: keyIdOperand(context), version: parseVersion(context) }
}

function parsePeriod(
  context: Context,
  flag: string,
  limits: { readonly least: number; readonly most: number; readonly otherwise: number },
): number {
  const text = stringFlag(context, flag)
  const value = text === undefined ? limits.otherwise : parseDuration(text)
  if (value !== undefined && value >= limits.least && value <= limits.most) return value
  const range = `${toDays(limits.least)} to ${toDays(limits.most)}`
  throw new UsageError('INPUT_INVALID', `--${flag}: expected ${range}, found ${String(text)}`)
}

export const keysApproveRetirement: Command = {
  operands: ['KEY_ID', 'VERSION'],
  flags: { operator, ...FLAGS },
  examples: ['latchkey keys approve-retirement payroll-2026 1 --operator bob'],
  async run(context) {
    const by = parseActor(context)
    const approved = await run(context, (deps, keyStore) =>
      approveRetirement(deps, nameOf(context, keyStore), by),
    )
    context.output.result(describeRetirement(approved), approved)
  },
}

export const keysCancelRetirement: Command = {
  operands: ['KEY_ID', 'VERSION'],
  flags: { ...REASON_FLAGS, ...FLAGS },
  examples: ['latchkey keys cancel-retirement payroll-2026 1 --reason "an old backup needs it"'],
  async run(context) {
    const by = parseReason(context)
    const cancelled = await run(context, (deps, keyStore) =>
      cancelRetirement(deps, nameOf(context, keyStore), by),
    )
    const { keyId, version } = cancelled
    context.output.result(`cancelled: version ${String(version)} of ${keyId} decrypts`, cancelled)
  },
}

export const keysShred: Command = {
  operands: ['KEY_ID', 'VERSION'],
  flags: { operator, ...YES_FLAG, ...FLAGS },
  examples: [
    'latchkey keys shred payroll-2026 1',
    'latchkey keys shred payroll-2026 1 --yes > destruction.json',
  ],
  async run(context) {
    const by = parseActor(context)
    const isSure = context.flags['yes'] === true
    const done = await run(context, async (deps, keyStore) => {
      const name = nameOf(context, keyStore)
      if (isSure) return shredVersion(deps, name, by)
      // If the version is already destroyed, its certificate is printed again.
      const certificate = await findCertificate(deps.store, name)
      if (certificate !== undefined) return certificate
      const [one] = (await reportVersions(deps, keyStore, name.keyId)).filter(
        ({ version }) => version === name.version,
      )
      return one?.retirement
    })
    if (done !== undefined && 'statement' in done) {
      context.output.result(JSON.stringify(done, undefined, 2), done)
      return
    }
    const state = done === undefined ? 'it is not being retired' : describeRetirement(done)
    context.output.result(
      `would destroy the version: what it encrypted could never be decrypted again. Add --yes to do it.\n${state}`,
      { done: false, retirement: done },
    )
  },
}
