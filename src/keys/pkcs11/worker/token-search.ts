/** Finds the slot with the configured token. */
// SPDX-License-Identifier: Apache-2.0
import type { TokenSelector } from '../../../config/config.ts'
import type { TokenFacts } from '../wire/calls.ts'
import { CkrFailure, WorkerFailure } from '../wire/errors.ts'
import { invoke, type Handle, type Pkcs11Module } from './module.ts'

export interface FoundToken {
  readonly slot: Handle
  readonly facts: TokenFacts
}

/**
 * The four-byte values of CK_EFFECTIVELY_INFINITE and CK_UNAVAILABLE_INFORMATION (PKCS#11 2.40).
 */
const NO_LIMITS: ReadonlySet<number> = new Set([0, 0xffff_ffff])

/** @throws WorkerFailure UNAVAILABLE if no token matches, MISCONFIGURED if two match */
export function findToken(module: Pkcs11Module, selector: TokenSelector): FoundToken {
  const all = listTokens(module)
  const [found, second] = all.filter(({ facts }) => isMeant(facts, selector))
  if (found === undefined) {
    const known = all.map(({ facts }) => JSON.stringify(facts.label)).join(', ')
    throw new WorkerFailure(
      'UNAVAILABLE',
      `no token has ${describe(selector)}; ${known === '' ? 'no tokens were found' : `found ${known}`}`,
      { hint: 'run latchkey pkcs11 probe to list the slots and tokens' },
    )
  }
  if (second !== undefined) {
    throw new WorkerFailure('MISCONFIGURED', `two tokens have ${describe(selector)}`, {
      hint: 'select a token by its serial number; run latchkey pkcs11 probe to list the serial numbers',
    })
  }
  return found
}

/** Lists every token that responds and skips other slots. */
export function listTokens(module: Pkcs11Module): readonly FoundToken[] {
  const { cryptoki } = module
  const slots = invoke('C_GetSlotList', () => cryptoki.C_GetSlotList(true))
  return slots.flatMap((slot) => {
    try {
      return [{ slot, facts: readFacts(module, slot) }]
    } catch (error) {
      // The slot has no token, its token is unreadable, or its token was just removed.
      if (error instanceof CkrFailure) return []
      throw error
    }
  })
}

export function readFacts({ cryptoki }: Pkcs11Module, slot: Handle): TokenFacts {
  const info = invoke('C_GetTokenInfo', () => cryptoki.C_GetTokenInfo(slot))
  const { major, minor } = info.firmwareVersion
  const { maxSessionCount } = info
  return {
    label: unpad(info.label),
    serial: unpad(info.serialNumber),
    manufacturer: clean(info.manufacturerID),
    model: clean(info.model),
    firmware: `${String(major)}.${String(minor)}`,
    slot: Number(slot.length === 8 ? slot.readBigUInt64LE() : slot.readUInt32LE()),
    ...(NO_LIMITS.has(maxSessionCount) || !Number.isSafeInteger(maxSessionCount)
      ? {}
      : { maxSessions: maxSessionCount }),
  }
}

/**
 * Labels are UTF-8 and padded at the end with spaces or, in some modules, with zeros. The text
 * before the padding is compared unchanged.
 */
function unpad(text: string): string {
  return text.replace(/[ \0]+$/, '')
}

/** Trims padding (spaces, or zeros in some modules) and keeps printable ASCII only. */
export function clean(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '').trim()
}

function isMeant(facts: TokenFacts, { label, serial, slot }: TokenSelector): boolean {
  if (slot !== undefined) return facts.slot === slot
  if (label === undefined) return facts.serial === unpad(serial ?? '')
  return facts.label === unpad(label)
}

function describe({ label, serial, slot }: TokenSelector): string {
  if (slot !== undefined) return `slot ${String(slot)}`
  return label === undefined ? `serial ${String(serial)}` : `label ${JSON.stringify(label)}`
}
