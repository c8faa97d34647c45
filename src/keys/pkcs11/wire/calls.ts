/** The calls to a worker process, except encrypt and decrypt, which have their own frames. */
// SPDX-License-Identifier: Apache-2.0
import type { IvMode, TokenSelector } from '../../../config/config.ts'
import type { KeyProblem } from '../../administration.ts'

/** The first call, with everything that the worker needs to know. */
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
  /** Label of one of Latchkey's own keys that this worker may use. */
  readonly ownKey?: string
  /** Sizes that the self-test encrypts; absent to skip it. */
  readonly selfTest?: { readonly plaintextBytes: number; readonly aadBytes: number }
}

export interface TokenFacts {
  readonly label: string
  readonly serial: string
  readonly manufacturer: string
  readonly model: string
  readonly firmware: string
  readonly slot: number
  /** Maximum number of sessions; undefined if the token does not report or limit it. */
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
  /**
   * Key check value in Base64; empty if it cannot be computed. A different value means a different
   * key.
   */
  readonly check: string
  /** Only in a list: why the key is not served. */
  readonly problem?: KeyProblem
}

/**
 * Which versions of a key to look for. `all` finds every version, with up to 15 missing ones in a row. A list finds version
 * 1, 2 and those listed, each with the versions that directly follow it.
 */
export type VersionSearch = 'all' | readonly number[]

export interface ListedKey {
  /** Label without the version, or id in hexadecimal. */
  readonly name: string
  readonly version: number
  /** Absent if the token no longer has it. */
  readonly key?: TokenKey
}

/** One step of a run over all keys of a token. */
export interface IndexReport {
  /** Keys on the token, of whatever kind. */
  readonly total: number
  /** Keys that this run has yet to read. */
  readonly left: number
  readonly isComplete: boolean
  /** Whether the run began with an empty index: it then reports every key, and no removals. */
  readonly isFresh: boolean
  readonly entries: readonly ListedKey[]
}

/** The only call to a worker that examines a module instead of serving. */
export interface ProbeCall {
  readonly call: 'probe'
  readonly module: string
  readonly parameters?: string
  readonly keysBy: 'label' | 'id'
  readonly healthKey: string
  /** Tokens to log in to. */
  readonly tokens: readonly { readonly token: TokenSelector; readonly pin: string }[]
}

export interface SlotReport {
  readonly slot: number
  readonly description: string
  readonly token?: TokenFacts
  /** Names of the relevant mechanisms. */
  readonly mechanisms?: readonly string[]
  /** Reason why the token in the slot is unknown. */
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
  /** Tokens in the order of the configuration. */
  readonly tokens: readonly {
    readonly facts?: TokenFacts
    /** Result of a round trip in each mode: `works`, or the reason why not. */
    readonly modes?: readonly { readonly iv: IvMode; readonly outcome: string }[]
    /** The first mode that works. */
    readonly iv?: IvMode
    readonly keys?: readonly TokenKey[]
    readonly problem?: string
  }[]
}

/** Label prefix of the keys that `pkcs11 certify` creates. DiscardCall destroys no other keys. */
export const CERTIFY_PREFIX = 'latchkey-certify-'

/** The only call to its worker, like ProbeCall. Finds the keys whose label begins with `prefix`. */
export interface DiscardCall {
  readonly call: 'discard'
  readonly module: string
  readonly parameters?: string
  readonly token: TokenSelector
  readonly pin: string
  readonly prefix: string
  /** Whether to destroy the keys. */
  readonly destroys: boolean
}

export interface NewTokenKey {
  readonly name: string
  readonly version: number
  readonly canEncrypt: boolean
  readonly canDecrypt: boolean
  /** Key material to import, 32 bytes in Base64, if the token allows it. */
  readonly material?: string
}

export type Call =
  | StartCall
  | ProbeCall
  /** Returns the number of keys found. */
  | DiscardCall
  /** Encrypts and decrypts with the health key. */
  | { readonly call: 'health' }
  /** Returns the versions of a key, in ascending order. See KeyHandles.versions. */
  | { readonly call: 'describe'; readonly name: string; readonly search: VersionSearch }
  | { readonly call: 'list' }
  /** One step of TokenIndex. */
  | { readonly call: 'index'; readonly run: number; readonly again: readonly string[] }
  /** One step of HandleNames over one of several shares of the keys. Returns an IndexReport that is never fresh. */
  | { readonly call: 'share'; readonly part: number; readonly of: number }
  /** One step of HandleNames. Returns the number of handles without a name. */
  | { readonly call: 'names' }
  | ({ readonly call: 'create' } & NewTokenKey)
  | { readonly call: 'destroy'; readonly name: string; readonly version: number }

/** Calls to a worker that has started; the others start it or are the only call to it. */
export type WorkerCall = Exclude<Call, StartCall | ProbeCall | DiscardCall>

/** The form of a value; the name of a property that may be missing ends in `?`. */
type Form =
  'text' | 'number' | 'flag' | 'nothing' | readonly [Form] | { readonly [name: string]: Form }

const TOKEN_FACTS: Form = {
  ...{ label: 'text', serial: 'text', manufacturer: 'text', model: 'text', firmware: 'text' },
  ...{ slot: 'number', 'maxSessions?': 'number' },
}
const TOKEN_KEY: Form = {
  ...{ version: 'number', label: 'text', id: 'text', check: 'text' },
  'problem?': { kind: 'text', reason: 'text' },
  ...{ canEncrypt: 'flag', canDecrypt: 'flag', isSensitive: 'flag', isExtractable: 'flag' },
}
const LISTED_KEY: Form = { name: 'text', version: 'number', 'key?': TOKEN_KEY }
const INDEX_REPORT: Form = {
  ...{ total: 'number', left: 'number', isComplete: 'flag', isFresh: 'flag' },
  entries: [LISTED_KEY],
}
const PROBE_REPORT: Form = {
  library: { manufacturer: 'text', description: 'text', version: 'text', cryptoki: 'text' },
  slots: [
    {
      ...{ slot: 'number', description: 'text', 'token?': TOKEN_FACTS },
      ...{ 'mechanisms?': ['text'], 'problem?': 'text' },
    },
  ],
  tokens: [
    {
      ...{ 'facts?': TOKEN_FACTS, 'modes?': [{ iv: 'text', outcome: 'text' }] },
      ...{ 'iv?': 'text', 'keys?': [TOKEN_KEY], 'problem?': 'text' },
    },
  ],
}
const ANSWERS: Readonly<Record<Call['call'], Form>> = {
  ...{ start: TOKEN_FACTS, probe: PROBE_REPORT, health: 'nothing', destroy: 'nothing' },
  ...{ describe: [TOKEN_KEY], list: [LISTED_KEY], create: TOKEN_KEY, index: INDEX_REPORT },
  ...{ share: INDEX_REPORT, names: 'number', discard: 'number' },
}

/** Whether a worker's answer has the form that the types above promise for this call. */
export function isAnswerTo(call: Call['call'], value: unknown): boolean {
  return hasForm(ANSWERS[call], value)
}

function hasForm(form: Form, value: unknown): boolean {
  if (form === 'nothing') return value === null
  if (form === 'text') return typeof value === 'string'
  if (form === 'number') return Number.isFinite(value)
  if (form === 'flag') return typeof value === 'boolean'
  if (isListForm(form)) return Array.isArray(value) && value.every((one) => hasForm(form[0], one))
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const found = value as Readonly<Record<string, unknown>>
  return Object.entries(form).every(([name, part]) => {
    const key = name.replace('?', '')
    if (Object.hasOwn(found, key)) return hasForm(part, found[key])
    return key !== name
  })
}

function isListForm(form: Form): form is readonly [Form] {
  return Array.isArray(form)
}

/** Encodes the name of a key version in frames. `name` is a label or an id in hex. */
export function encodeRef(name: string, version: number): string {
  return version === 1 ? name : `${name}@${String(version)}`
}

/** Parses a name. No key id contains `@`, so a key id is never mistaken for another one's version. */
export function parseRef(ref: string): { readonly name: string; readonly version: number } {
  const found = /^(.*)@([1-9][0-9]{0,9})$/s.exec(ref)
  return found === null
    ? { name: ref, version: 1 }
    : { name: found[1] ?? '', version: Number(found[2]) }
}
