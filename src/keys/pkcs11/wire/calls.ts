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
  /** Data sizes for the self-test; absent to skip the self-test. */
  readonly selfTest?: { readonly plaintextBytes: number; readonly aadBytes: number }
}

export interface TokenFacts {
  readonly label: string
  readonly serial: string
  readonly manufacturer: string
  readonly model: string
  readonly firmware: string
  readonly slot: number
  /** Maximum number of sessions; undefined if the token reports no limit or has none. */
  readonly maxSessions?: number
  /** The reason that the worker does not use Latchkey's add-on; undefined if it does. */
  readonly withoutAddOn?: string
}

/** One version of a key, as the token describes it. */
export interface TokenKey {
  readonly version: number
  readonly label: string
  /** CKA_ID in hexadecimal. */
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
  /** Reason why the key is not served; present only in lists. */
  readonly problem?: KeyProblem
}

/**
 * Versions of a key to look for. `all` finds every version, across gaps of up to 15 versions. A
 * list finds versions 1 and 2, the listed versions, and the versions that directly follow any of
 * these.
 */
export type VersionSearch = 'all' | readonly number[]

export interface ListedKey {
  /** Label without the version, or id in hexadecimal. */
  readonly name: string
  readonly version: number
  /** Absent if the token no longer has the key. */
  readonly key?: TokenKey
}

/** Part of a list. A key's name in it is the prefix and a key id. */
export interface ListPage {
  readonly prefix: string
  /** Only keys whose ids sort after this one, by UTF-16 code units, are returned. */
  readonly after?: string
  /** Maximum number of keys. */
  readonly limit: number
}

/** Result of one step of a run over all keys of a token. */
export interface IndexReport {
  /** Number of keys of any type on the token. */
  readonly total: number
  /** Number of keys that this run has yet to read. */
  readonly left: number
  readonly isComplete: boolean
  /** Whether the run began with an empty index. Such a run reports every key and no removals. */
  readonly isFresh: boolean
  /** Number of keys that the run saw for the first time, which the next run reads. */
  readonly appeared: number
  readonly entries: readonly ListedKey[]
}

/** Result of one step of a worker that reads its share of the keys. */
export interface ShareReport extends IndexReport {
  /** One for each AES key that this step read: a hash of what identifies the key. */
  readonly fingerprints: readonly string[]
  /**
   * Number of AES keys on the token. Present in the last report of a share that has other keys, too;
   * if no report has it, the token has no other keys or not all keys were read.
   */
  readonly aesKeys?: number
}

/**
 * Makes a worker examine a module instead of serving requests. The worker receives no other call.
 */
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
  /** Tokens, in configuration order. */
  readonly tokens: readonly {
    readonly facts?: TokenFacts
    /** Result of a round trip in each IV mode: `works`, or the reason why it does not work. */
    readonly modes?: readonly { readonly iv: IvMode; readonly outcome: string }[]
    /** The first IV mode that works. */
    readonly iv?: IvMode
    readonly keys?: readonly TokenKey[]
    readonly problem?: string
  }[]
}

/** Label prefix of the keys that `pkcs11 certify` creates. DiscardCall destroys no other keys. */
export const CERTIFY_PREFIX = 'latchkey-certify-'

/**
 * Finds the keys whose label begins with `prefix`. As with ProbeCall, the worker receives no other
 * call.
 */
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
  /** Key material to import, if the token allows it: 32 bytes in Base64. */
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
  | { readonly call: 'list'; readonly page?: ListPage }
  /** Runs one step of TokenIndex. */
  | { readonly call: 'index'; readonly run: number; readonly again: readonly string[] }
  /**
   * Runs one step of HandleNames on one of several shares of the keys. Returns a ShareReport whose
   * `isFresh` is false.
   */
  | { readonly call: 'share'; readonly part: number; readonly of: number }
  /**
   * Runs one step of HandleNames. Returns the number of handles whose names have yet to be read.
   */
  | { readonly call: 'names' }
  | ({ readonly call: 'create' } & NewTokenKey)
  | { readonly call: 'destroy'; readonly name: string; readonly version: number }

/**
 * Calls to a worker that has started. Any other call either starts a worker or is the only one that
 * its worker receives.
 */
export type WorkerCall = Exclude<Call, StartCall | ProbeCall | DiscardCall>

/** Shape of a value. A property is optional if its name ends in `?`. */
type Form =
  'text' | 'number' | 'flag' | 'nothing' | readonly [Form] | { readonly [name: string]: Form }

const TOKEN_FACTS: Form = {
  ...{ label: 'text', serial: 'text', manufacturer: 'text', model: 'text', firmware: 'text' },
  ...{ slot: 'number', 'maxSessions?': 'number', 'withoutAddOn?': 'text' },
}
const TOKEN_KEY: Form = {
  ...{ version: 'number', label: 'text', id: 'text', check: 'text' },
  'problem?': { kind: 'text', reason: 'text' },
  ...{ canEncrypt: 'flag', canDecrypt: 'flag', isSensitive: 'flag', isExtractable: 'flag' },
}
const LISTED_KEY: Form = { name: 'text', version: 'number', 'key?': TOKEN_KEY }
const INDEX_REPORT: Form = {
  ...{ total: 'number', left: 'number', isComplete: 'flag', isFresh: 'flag' },
  appeared: 'number',
  entries: [LISTED_KEY],
}
const SHARE_REPORT: Form = { ...INDEX_REPORT, fingerprints: ['text'] }
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
  ...{ share: SHARE_REPORT, names: 'number', discard: 'number' },
}

/** Reports whether a worker's response has the shape that the types above promise for this call. */
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

/** Encodes the name of a key version for use in frames. `name` is a label or an id in hex. */
export function encodeRef(name: string, version: number): string {
  return version === 1 ? name : `${name}@${String(version)}`
}

/**
 * Parses a name. No key id contains `@`, so a key id is never mistaken for a version of another
 * key.
 */
export function parseRef(ref: string): { readonly name: string; readonly version: number } {
  const found = /^(.*)@([1-9][0-9]{0,9})$/s.exec(ref)
  return found === null
    ? { name: ref, version: 1 }
    : { name: found[1] ?? '', version: Number(found[2]) }
}
