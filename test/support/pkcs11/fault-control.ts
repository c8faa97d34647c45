/** Controls the fault module and reads its counters. The file layout matches shim/control.h. */
// SPDX-License-Identifier: Apache-2.0
import { closeSync, openSync, readSync, writeSync } from 'node:fs'
import { constants } from 'node:os'
import { read } from '../repository.ts'

const MAGIC = 0x31534b4c
const FUNCTIONS = 72
const PROCESSES = 64
const LOG = 8192
const ROW_BYTES = 32
const ENTRY_BYTES = 16
const PLANS_AT = 256
const COUNTS_AT = PLANS_AT + FUNCTIONS * ROW_BYTES
const PROCESSES_AT = COUNTS_AT + FUNCTIONS * ROW_BYTES
const LOG_AT = PROCESSES_AT + PROCESSES * ROW_BYTES
const FILE_BYTES = LOG_AT + LOG * ENTRY_BYTES

/** Byte offsets in the header. */
const AT = {
  vendor: 8,
  hang: 12,
  latency: 16,
  drop: 20,
  maxSessions: 24,
  logNext: 28,
  only: 32,
} as const

const FOR_EVER = 0xffff_ffff

/** Function names in the order of the C source. A function's index is its position in this list. */
const NAMES = [...read('test/faults/shim/functions.h').matchAll(/^(?:PASS|OWN)\((C_\w+)/gm)].map(
  ([, name = '']) => name,
)

export type Vendor = 'none' | 'luna' | 'luna 7.9.3' | 'cloudhsm'
const VENDORS: readonly Vendor[] = ['none', 'luna', 'luna 7.9.3', 'cloudhsm']

export interface FaultPlan {
  readonly latencyMs?: number
  /** Duration of a hang in milliseconds, or `until told`, which makes the function hang until the plan changes. */
  readonly hang?: number | 'until told'
  /** Return value to use instead of calling the real module. */
  readonly rv?: number
  /** Whether to call the real module anyway and discard its result. */
  readonly afterwards?: boolean
  readonly crash?: 'SIGSEGV' | 'SIGABRT'
  /** Number of times that `rv` or `crash` occurs (default: unlimited). */
  readonly times?: number
  /** Probability between 0 and 1 (default: 1). */
  readonly probability?: number
}

export interface CallCount {
  readonly calls: number
  readonly failed: number
  readonly injected: number
}

export interface ModuleProcess {
  readonly pid: number
  readonly sessions: number
  readonly mostSessions: number
  /** Undefined if C_Initialize was called without arguments. */
  readonly initializeFlags: number | undefined
  readonly initialized: number
  readonly mostInFlight: number
  readonly drops: number
}

export interface LoggedCall {
  readonly pid: number
  readonly function: string
  readonly rv: number
  readonly ms: number
}

/** A control file. A changed setting applies to every process from the process's next call on. */
export class FaultControl {
  readonly file: string
  readonly #descriptor: number

  constructor(file: string) {
    this.file = file
    this.#descriptor = openSync(file, 'w+', 0o600)
    writeSync(this.#descriptor, Buffer.alloc(FILE_BYTES), 0, FILE_BYTES, 0)
    this.#write(0, MAGIC)
    this.#write(4, FILE_BYTES)
  }

  close(): void {
    closeSync(this.#descriptor)
  }

  /** Replaces a function's plan. An empty plan clears it. */
  plan(name: string, plan: FaultPlan): void {
    const { hang = 0, rv = 0, crash, probability = 1 } = plan
    const does = plan.rv !== undefined || crash !== undefined
    const row = [
      Math.round((plan.latencyMs ?? 0) * 1000),
      hang === 'until told' ? FOR_EVER : hang,
      rv,
      crash === undefined ? 0 : constants.signals[crash],
      probability === 1 ? 0 : Math.max(1, Math.round(probability * 1e6)),
      plan.afterwards === true ? 1 : 0,
      does ? (plan.times ?? FOR_EVER) : 0,
    ]
    const at = PLANS_AT + indexOf(name) * ROW_BYTES
    // The last value activates the plan, so write the values in order.
    row.forEach((value, place) => {
      this.#write(at + place * 4, value)
    })
  }

  /** Makes every function hang; `no more` ends all hangs. */
  hang(how: 'until told' | 'no more' | number): void {
    this.#write(AT.hang, how === 'until told' ? FOR_EVER : how === 'no more' ? 0 : how)
  }

  latency(ms: number): void {
    this.#write(AT.latency, Math.round(ms * 1000))
  }

  /** Makes each process close all its sessions before its next call, as a token reset does. */
  dropSessions(): void {
    this.#write(AT.drop, this.#word(AT.drop) + 1)
  }

  pretend(vendor: Vendor): void {
    this.#write(AT.vendor, VENDORS.indexOf(vendor))
  }

  /** Limits the number of sessions on the token across all processes; 0 removes the limit. */
  limitSessions(most: number): void {
    this.#write(AT.maxSessions, most)
  }

  /** Restricts faults to processes that use this slot; undefined applies faults to all processes again. */
  only(slotId: number | undefined): void {
    this.#write(AT.only, slotId === undefined ? 0 : slotId + 1)
  }

  /** Clears all plans, but keeps the counters. */
  heal(): void {
    for (const name of NAMES) this.plan(name, {})
    this.hang('no more')
    this.latency(0)
    this.limitSessions(0)
    this.only(undefined)
  }

  count(name: string): CallCount {
    const row = this.#read(COUNTS_AT + indexOf(name) * ROW_BYTES, ROW_BYTES)
    const [calls, failed, injected] = [0, 4, 8].map((at) => row.readUInt32LE(at))
    return { calls: calls ?? 0, failed: failed ?? 0, injected: injected ?? 0 }
  }

  /** Returns the processes that are still alive. */
  processes(): readonly ModuleProcess[] {
    const rows = this.#read(PROCESSES_AT, PROCESSES * ROW_BYTES)
    return Array.from({ length: PROCESSES }, (_, place) => {
      const word = (at: number) => rows.readUInt32LE(place * ROW_BYTES + at * 4)
      return {
        pid: word(0),
        sessions: word(1),
        mostSessions: word(2),
        initializeFlags: word(3) === FOR_EVER ? undefined : word(3),
        initialized: word(4),
        mostInFlight: word(6),
        drops: word(7),
      }
    }).filter(({ pid }) => pid !== 0 && isAlive(pid))
  }

  /** Returns the number of open sessions across all live processes. */
  sessions(): number {
    return this.processes().reduce((sum, { sessions }) => sum + sessions, 0)
  }

  /** Returns a position to pass to `log`. */
  mark(): number {
    return this.#word(AT.logNext)
  }

  /** Returns up to 8,192 calls that completed since `mark`, oldest first. */
  log(mark = 0): readonly LoggedCall[] {
    const next = this.mark()
    const entries = this.#read(LOG_AT, LOG * ENTRY_BYTES)
    const calls: LoggedCall[] = []
    for (let number = Math.max(mark, next - LOG); number < next; number++) {
      const at = (number % LOG) * ENTRY_BYTES
      calls.push({
        pid: entries.readUInt32LE(at),
        function: NAMES[entries.readUInt32LE(at + 4)] ?? '?',
        rv: entries.readUInt32LE(at + 8),
        ms: entries.readUInt32LE(at + 12) / 1000,
      })
    }
    return calls
  }

  #word(at: number): number {
    return this.#read(at, 4).readUInt32LE()
  }

  #read(at: number, bytes: number): Buffer {
    const buffer = Buffer.alloc(bytes)
    readSync(this.#descriptor, buffer, 0, bytes, at)
    return buffer
  }

  #write(at: number, value: number): void {
    const buffer = Buffer.alloc(4)
    buffer.writeUInt32LE(value >>> 0)
    writeSync(this.#descriptor, buffer, 0, 4, at)
  }
}

function indexOf(name: string): number {
  const index = NAMES.indexOf(name)
  if (index < 0) throw new TypeError(`no function of PKCS#11: ${name}`)
  return index
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
