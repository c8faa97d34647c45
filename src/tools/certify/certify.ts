/**
 * `pkcs11 certify`: runs the contract suite, fault tests and speed measurements on the user's own
 * token, with keys that are destroyed afterwards.
 */
// SPDX-License-Identifier: Apache-2.0
import { arch, platform } from 'node:os'
import { probeBackend, type ProbeReport } from '../../app/administration.ts'
import { discardLeftovers, openTokenWorkplace } from '../../app/token-workplace.ts'
import type { Pkcs11BackendConfig } from '../../config/config.ts'
import { systemClock as clock } from '../../core/clock.ts'
import { BackendError } from '../../keys/errors.ts'
import { type ContractReport, runContract } from './contract.ts'
import { type FaultResult, runFaults } from './faults.ts'
import { measureSpeed, type SpeedReport } from './speed.ts'

export interface CertifyPlan {
  /** The entry of `backends`, with only the token to test. */
  readonly config: Pkcs11BackendConfig
  readonly version: string
  /** Duration of each measurement and of the load under faults. */
  readonly durationMs: number
  /** Maximum number of sessions for the speed measurements. */
  readonly sessions: number
  /** Whether to destroy keys left behind by killed runs. */
  readonly removesLeftovers: boolean
}

export interface CertifyReport {
  readonly hasPassed: boolean
  /** Date of the run, in ISO 8601 format. */
  readonly date: string
  readonly environment: {
    readonly version: string
    readonly node: string
    readonly platform: string
  }
  readonly library: ProbeReport['library']
  readonly token: {
    readonly manufacturer: string
    readonly model: string
    readonly firmware: string
    readonly maxSessions?: number
  }
  readonly mechanisms: readonly string[]
  readonly iv: Pkcs11BackendConfig['iv']
  readonly modes: readonly { readonly iv: string; readonly outcome: string }[]
  readonly contract: ContractReport
  readonly faults: readonly FaultResult[]
  readonly speed: SpeedReport
  /** Number of keys from this run that could not be destroyed. */
  readonly leftKeys: number
}

/**
 * @param note reports progress to the user
 * @throws BackendError if the token cannot be used; after an abort, `signal.reason` once the keys
 * are destroyed
 */
export async function certify(
  plan: CertifyPlan,
  signal: AbortSignal,
  note: (text: string) => void,
): Promise<CertifyReport> {
  const { config, durationMs } = plan
  const { library, token, mechanisms, modes } = await examine(config)
  await findLeftovers(plan, note)
  const workplace = await openTokenWorkplace(config)
  let leftKeys = 0
  let found: Pick<CertifyReport, 'contract' | 'faults' | 'speed'> | undefined
  try {
    const contract = await runContract(workplace, signal, (check, index, count) => {
      note(`${String(index + 1)} of ${String(count)}: ${check}`)
    })
    const faults = await runFaults(workplace, { config, durationMs, signal }, note)
    const most = plan.sessions
    const speed = await measureSpeed(workplace, { durationMs, most }, signal, (sessions) => {
      note(`speed with ${String(sessions)} ${sessions === 1 ? 'session' : 'sessions'}`)
    })
    found = { contract, faults, speed }
  } finally {
    note('destroying the keys of this run')
    try {
      leftKeys = await workplace.discard()
    } finally {
      await workplace.close()
    }
  }
  return {
    hasPassed:
      leftKeys === 0 &&
      found.contract.checks.every(({ faults: [fault] }) => fault === undefined) &&
      found.faults.every(({ hasPassed }) => hasPassed),
    date: new Date(clock.now()).toISOString().slice(0, 10),
    environment: { version: plan.version, node: process.version, platform: toPlatform() },
    ...{ library, token, mechanisms, iv: config.iv, modes, ...found, leftKeys },
  }
}

/** @throws BackendError MISCONFIGURED if the token could not serve requests */
async function examine(config: Pkcs11BackendConfig) {
  const { library, slots, tokens } = await probeBackend(config)
  const [first] = tokens
  if (first?.facts === undefined)
    throw new BackendError(
      'MISCONFIGURED',
      `cannot log in: ${first?.problem ?? 'there is no token'}`,
    )
  const { facts, modes = [], iv } = first
  const outcome = modes.find((mode) => mode.iv === config.iv)?.outcome
  if (outcome !== 'works') {
    throw new BackendError('MISCONFIGURED', `iv: ${config.iv} does not work: ${outcome ?? ''}`, {
      hint: iv === undefined ? 'the token supports no iv mode that works' : `set iv: ${iv}`,
    })
  }
  const { manufacturer, model, firmware, maxSessions } = facts
  const mechanisms = slots.find(({ slot }) => slot === facts.slot)?.mechanisms ?? []
  const limit = maxSessions === undefined ? {} : { maxSessions }
  return { library, token: { manufacturer, model, firmware, ...limit }, mechanisms, modes }
}

async function findLeftovers(
  { config, removesLeftovers }: CertifyPlan,
  note: (text: string) => void,
): Promise<void> {
  const count = await discardLeftovers(config, removesLeftovers)
  if (count === 0) return
  note(
    removesLeftovers
      ? `destroyed ${String(count)} keys from earlier runs`
      : `earlier runs left ${String(count)} keys on the token; pass --remove-leftovers to destroy them`,
  )
}

function toPlatform(): string {
  const { header } = process.report.getReport() as {
    readonly header?: { readonly glibcVersionRuntime?: string }
  }
  const libc = header?.glibcVersionRuntime
  return `${platform()} ${arch()}${libc === undefined ? '' : `, glibc ${libc}`}`
}
