/** Describes a module, its slots and tokens, and tests which AES-GCM modes work on one token. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import type { Clock } from '../../../core/clock.ts'
import type { IvMode } from '../../../config/config.ts'
import { createAesGcm } from './aes-gcm.ts'
import type { ProbeCall, ProbeReport, SlotReport, TokenKey } from '../wire/calls.ts'
import { CkrFailure, WorkerFailure } from '../wire/errors.ts'
import { createKey } from './key-attributes.ts'
import { finalize, initialize, invoke, type Handle, type Pkcs11Module } from './module.ts'
import { clean, readFacts } from './token-search.ts'
import { createBareSession } from './session.ts'
import { TokenIndex } from './token-index.ts'

const MECHANISMS = {
  CKM_AES_KEY_GEN: 0x1080,
  CKM_AES_GCM: 0x1087,
  CKM_CLOUDHSM_AES_GCM: 0x8000_1087,
} as const
/** AES-GCM modes to test, in order of preference. */
const MODES: readonly IvMode[] = [
  'host',
  'cloudhsm-gcm',
  'hsm-written',
  'hsm-appended-12',
  'hsm-appended-16',
]
const PROBE_BYTES = 32
const TIME_MS = 60_000

/**
 * Logs in only if there is a PIN. Every object that the probe creates on the token ends with the
 * session.
 */
export function probe(module: Pkcs11Module, call: ProbeCall, clock: Clock): ProbeReport {
  initialize(module)
  try {
    const info = invoke('C_GetInfo', () => module.cryptoki.C_GetInfo())
    const { major, minor } = info.cryptokiVersion
    return {
      library: {
        manufacturer: clean(info.manufacturerID),
        description: clean(info.libraryDescription),
        version: `${String(info.libraryVersion.major)}.${String(info.libraryVersion.minor)}`,
        cryptoki: `${String(major)}.${String(minor)}`,
      },
      slots: listSlots(module),
      tokens: call.tokens.map((token) => probeToken(module, { ...call, ...token }, clock)),
    }
  } finally {
    finalize(module)
  }
}

function listSlots(module: Pkcs11Module): readonly SlotReport[] {
  const { cryptoki } = module
  const slots = invoke('C_GetSlotList', () => cryptoki.C_GetSlotList(false))
  return slots.map((slot) => {
    const { slotDescription } = invoke('C_GetSlotInfo', () => cryptoki.C_GetSlotInfo(slot))
    const description = clean(slotDescription)
    try {
      const token = readFacts(module, slot)
      const list = invoke('C_GetMechanismList', () => cryptoki.C_GetMechanismList(slot))
      const found = Object.entries(MECHANISMS).filter(([, code]) => list.includes(code))
      return { slot: token.slot, description, token, mechanisms: found.map(([name]) => name) }
    } catch (error) {
      if (!(error instanceof CkrFailure)) throw error
      return { slot: slotNumber(slot), description, problem: error.row.name }
    }
  })
}

function slotNumber(slot: Handle): number {
  return Number(slot.length === 8 ? slot.readBigUInt64LE() : slot.readUInt32LE())
}

function probeToken(
  module: Pkcs11Module,
  call: Parameters<typeof openToken>[1],
  clock: Clock,
): ProbeReport['tokens'][number] {
  try {
    const { facts, modes, keys } = openToken(module, call, clock)
    const iv = modes.find(({ outcome }) => outcome === 'works')?.iv
    return { facts, modes, keys, ...(iv === undefined ? {} : { iv }) }
  } catch (error) {
    if (error instanceof WorkerFailure || error instanceof CkrFailure)
      return { problem: error.message }
    throw error
  }
}

function openToken(
  module: Pkcs11Module,
  call: ProbeCall & ProbeCall['tokens'][number],
  clock: Clock,
) {
  const session = createBareSession(module, call, clock)
  const run = <T>(work: (handle: Handle) => T) =>
    session.run('encrypt', clock.monotonic() + TIME_MS, work)
  const facts = session.facts()
  return {
    facts,
    keys: run((handle) => listKeys(module, handle, call)),
    modes: MODES.map((iv) => ({ iv, outcome: run((handle) => tryMode(module, handle, iv)) })),
  }
}

/** Tests with a session key, which is destroyed with the session. */
function tryMode(module: Pkcs11Module, session: Handle, iv: IvMode): string {
  const gcm = createAesGcm(module, iv)
  const [plaintext, aad] = [randomBytes(PROBE_BYTES), randomBytes(PROBE_BYTES)]
  try {
    const label = 'latchkey probe'
    const key = createKey(module, session, {
      ...{ label, canEncrypt: true, canDecrypt: true, isOfSession: true },
    })
    const made = gcm.encrypt(session, key, plaintext, aad)
    const opened = gcm.decrypt(session, key, made.iv, made.sealed, aad)
    return opened.equals(plaintext) ? 'works' : 'decrypts to different bytes'
  } catch (error) {
    if (error instanceof CkrFailure || error instanceof WorkerFailure) return error.message
    throw error
  }
}

/** Lists the keys, applying the same checks as a server. */
function listKeys(module: Pkcs11Module, session: Handle, { keysBy, healthKey }: ProbeCall) {
  const isReserved = (label: string) => label === healthKey
  const gcm = createAesGcm(module, 'host')
  const index = new TokenIndex({ module, gcm, keysBy, isReserved, handles: undefined })
  const keys: TokenKey[] = []
  for (;;) {
    const report = index.step(session, { run: 1, again: [] }, () => true)
    for (const { key } of report.entries) if (key !== undefined) keys.push(key)
    if (report.isComplete) return keys
  }
}
