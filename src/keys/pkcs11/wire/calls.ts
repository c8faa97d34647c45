/** The calls to the process of a module, beside encrypt and decrypt, which have frames of their own. */
// SPDX-License-Identifier: Apache-2.0
import type { IvMode, TokenSelector } from '../../../config/config.ts'

/** The first call: everything that the process needs to know. */
export interface StartCall {
  readonly call: 'start'
  readonly module: string
  readonly parameters?: string
  readonly token: TokenSelector
  readonly pin: string
  readonly iv: IvMode
  readonly keysBy: 'label' | 'id'
  readonly healthKey: string
  readonly functionFailedIsBusy: boolean
  /** Label of a key of Latchkey itself that this process may use. */
  readonly ownKey?: string
  /** What the self-test encrypts; absent: there is none. */
  readonly selfTest?: { readonly plaintextBytes: number; readonly aadBytes: number }
}

export interface TokenFacts {
  readonly label: string
  readonly serial: string
  readonly manufacturer: string
  readonly model: string
  readonly firmware: string
  readonly slot: number
  /** Sessions that the token allows; undefined: it does not say, or does not limit them. */
  readonly maxSessions?: number
}

/** One version of a key, as the token describes it. */
export interface TokenKey {
  readonly version: number
  readonly label: string
  /** CKA_ID, hexadecimal. */
  readonly id: string
  readonly canEncrypt: boolean
  readonly canDecrypt: boolean
  readonly isSensitive: boolean
  readonly isExtractable: boolean
  /** Base64; empty where none can be computed. Keys with another value are other keys. */
  readonly check: string
}

/** The only call to a process that is to look at a module, not to serve. */
export interface ProbeCall {
  readonly call: 'probe'
  readonly module: string
  readonly parameters?: string
  readonly keysBy: 'label' | 'id'
  readonly healthKey: string
  /** Those to log in to. */
  readonly tokens: readonly { readonly token: TokenSelector; readonly pin: string }[]
}

export interface SlotReport {
  readonly slot: number
  readonly description: string
  readonly token?: TokenFacts
  /** Those that matter here. */
  readonly mechanisms?: readonly string[]
  /** Why nothing is known of a token in it. */
  readonly problem?: string
}

export interface ProbeReport {
  readonly library: {
    readonly manufacturer: string
    readonly description: string
    readonly version: string
    readonly cryptoki: string
  }
  readonly slots: readonly SlotReport[]
  /** In the order of the configuration. */
  readonly tokens: readonly {
    readonly facts?: TokenFacts
    /** What became of a round trip in each mode: `works`, or why not. */
    readonly modes?: readonly { readonly iv: IvMode; readonly outcome: string }[]
    /** The first mode that works. */
    readonly iv?: IvMode
    readonly keys?: readonly TokenKey[]
    readonly problem?: string
  }[]
}

export interface NewTokenKey {
  readonly name: string
  readonly version: number
  readonly canEncrypt: boolean
  readonly canDecrypt: boolean
  /** 32 bytes in Base64: an import, where the token allows one. */
  readonly material?: string
}

export type Call =
  | StartCall
  | ProbeCall
  /** A round trip with the health key. */
  | { readonly call: 'health' }
  /** All versions of a key, ascending. */
  | { readonly call: 'describe'; readonly name: string }
  | { readonly call: 'list' }
  | ({ readonly call: 'create' } & NewTokenKey)
  | { readonly call: 'destroy'; readonly name: string; readonly version: number }

/** How a key version is named in frames: `name` is a label or a hexadecimal id. */
export function encodeRef(name: string, version: number): string {
  return version === 1 ? name : `${name}@${String(version)}`
}

/** `@` is in no key id, so no key id can be taken for another one's version. */
export function parseRef(ref: string): { readonly name: string; readonly version: number } {
  const found = /^(.*)@([1-9][0-9]{0,9})$/s.exec(ref)
  return found === null
    ? { name: ref, version: 1 }
    : { name: found[1] ?? '', version: Number(found[2]) }
}
