/**
 * Implements `latchkey keys versions | retirements | retire | approve-retirement |
 * cancel-retirement`.
 */
// SPDX-License-Identifier: Apache-2.0
import { parseDuration } from '../../core/duration.ts'
import type { ExternalKeyId } from '../../core/ids.ts'
import { type VersionReport, QUIET_LIMITS, WAIT_LIMITS } from '../../retirement/retirement.ts'
import type { Retirement, VersionName } from '../../retirement/retirement-table.ts'
import type { Retirements } from '../../retirement/service.ts'
import {
  ADD_YES,
  type Command,
  type Context,
  KEY_STORE_FLAG,
  UsageError,
  YES_FLAG,
  keyIdOperand,
  stringFlag,
} from '../../terminal/command.ts'
import { PLACE_FLAGS } from '../../terminal/contexts.ts'
import { REASON_FLAGS, parseActor, parseReason } from '../../terminal/flags/scope.ts'
import { withRetirements } from '../with-retirements.ts'

const FLAGS = { ...KEY_STORE_FLAG, ...PLACE_FLAGS }
const { operator } = REASON_FLAGS
const DAY_MS = 86_400_000

type Name = VersionName & { readonly keyId: ExternalKeyId }

function parseVersion(context: Context): number {
  const version = Number(context.operands[1])
  if (Number.isInteger(version) && version >= 1) return version
  throw new UsageError(
    'INPUT_INVALID',
    `expected a version number (a positive whole number), found ${String(context.operands[1])}`,
  )
}

export const keysVersions: Command = {
  operands: ['KEY_ID'],
  flags: FLAGS,
  examples: ['latchkey keys versions payroll-2026'],
  async run(context) {
    const keyId = keyIdOperand(context)
    const found = await withRetirements(context, (retirements, keyStore) =>
      retirements.report(keyStore, keyId),
    )
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
        context.output.table(headings, found.map(toRow)),
        ...(callers.length === 0
          ? []
          : [
              '',
              context.output.table(['VERSION', 'KIND', 'CALLER', 'USES', 'FIRST', 'LAST'], callers),
            ]),
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

export function describeRetirement(one: Retirement): string {
  const { version, requestedBy, requestedAt, approval, waitForMs, destroyingSince, reason } = one
  const asked = `version ${String(version)}: retirement requested by ${requestedBy.operator} at ${toTime(requestedAt)} (${reason})`
  if (destroyingSince !== undefined) {
    return `${asked}; its destruction began at ${toTime(destroyingSince)}; run latchkey keys shred to complete it or to print its certificate`
  }
  if (approval === undefined) return `${asked}; waiting for approval by a second person`
  return `${asked}; approved by ${approval.operator}; has refused Decrypt since ${toTime(approval.at)}; cannot be destroyed before ${toTime(approval.at + waitForMs)}`
}

export const keysRetirements: Command = {
  flags: FLAGS,
  examples: ['latchkey keys retirements', 'latchkey keys retirements --key-store demo --json'],
  async run(context) {
    const found = await withRetirements(context, (retirements, keyStore) =>
      retirements.list(keyStore),
    )
    const lines = found.map((one) => `${one.keyId} ${describeRetirement(one)}`)
    const text = found.length === 0 ? 'no key version is being retired' : lines.join('\n')
    context.output.result(context.output.fold(text), found)
  },
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
    'latchkey keys retire payroll-2026 1 --reason "all data was re-encrypted"',
    'latchkey keys retire payroll-2026 1 --quiet-for 180d --wait 30d --reason "audit 2026"',
  ],
  async run(context) {
    const { reason, ...requestedBy } = parseReason(context)
    const quietForMs = parsePeriod(context, 'quiet-for', QUIET_LIMITS)
    const waitForMs = parsePeriod(context, 'wait', WAIT_LIMITS)
    const made = await withRetirements(context, (retirements, keyStore) =>
      retirements.request({
        ...nameOf(context, keyStore),
        ...{ reason, requestedBy, quietForMs, waitForMs },
      }),
    )
    const next = `latchkey keys approve-retirement ${made.keyId} ${String(made.version)} --yes`
    context.output.result(
      `requested; the version has decrypted nothing for ${toDays(quietForMs)}\na second person can approve the retirement: ${next}`,
      made,
    )
  },
}

export function nameOf(context: Context, keyStore: string): Name {
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
  flags: { operator, ...YES_FLAG, ...FLAGS },
  examples: [
    'latchkey keys approve-retirement payroll-2026 1',
    'latchkey keys approve-retirement payroll-2026 1 --operator bob --yes',
  ],
  async run(context) {
    const by = parseActor(context)
    const isSure = context.flags['yes'] === true
    const found = await withRetirements(context, async (retirements, keyStore) => {
      const name = nameOf(context, keyStore)
      return isSure ? retirements.approve(name, by) : findRetirement(retirements, name)
    })
    if (isSure && found !== undefined) {
      context.output.result(describeRetirement(found), found)
      return
    }
    context.output.result(
      `would make the version refuse Decrypt. ${ADD_YES}\n${describePending(found)}`,
      { done: false, retirement: found },
    )
  },
}

export async function findRetirement(
  retirements: Retirements,
  name: Name,
): Promise<Retirement | undefined> {
  const reports = await retirements.report(name.keyStore, name.keyId)
  return reports.find(({ version }) => version === name.version)?.retirement
}

export function describePending(retirement: Retirement | undefined): string {
  return retirement === undefined
    ? 'the version is not being retired'
    : describeRetirement(retirement)
}

export const keysCancelRetirement: Command = {
  operands: ['KEY_ID', 'VERSION'],
  flags: { ...REASON_FLAGS, ...FLAGS },
  examples: ['latchkey keys cancel-retirement payroll-2026 1 --reason "an old backup needs it"'],
  async run(context) {
    const by = parseReason(context)
    const cancelled = await withRetirements(context, (retirements, keyStore) =>
      retirements.cancel(nameOf(context, keyStore), by),
    )
    const { keyId, version } = cancelled
    context.output.result(
      `cancelled the retirement of version ${String(version)} of ${keyId}`,
      cancelled,
    )
  },
}
