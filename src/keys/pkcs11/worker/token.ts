/** The operations that a worker process runs for its parent, on a logged-in token and its keys. */
// SPDX-License-Identifier: Apache-2.0
import * as crypto from 'node:crypto'
import type { Clock } from '../../../core/clock.ts'
import { equalBytes } from '../../../core/constant-time.ts'
import { createAesGcm, mechanismOf, type AesGcm, type SealedByToken } from './aes-gcm.ts'
import {
  encodeRef,
  type NewTokenKey,
  type StartCall,
  type TokenFacts,
  type TokenKey,
  type VersionSearch,
  type WorkerCall,
} from '../wire/calls.ts'
import { CkrFailure, WorkerFailure, type Direction } from '../wire/errors.ts'
import { HandleNames } from './handle-names.ts'
import { createKey } from './key-attributes.ts'
import { KeyHandles, toTokenKey, type KeyHandlesOptions } from './key-handles.ts'
import { invoke, type Handle, type Pkcs11Module } from './module.ts'
import { TokenSession } from './session.ts'
import { listKeys, TokenIndex } from './token-index.ts'

/** Generous time limit for key management in milliseconds. Callers set their own deadlines. */
const UNHURRIED_MS = 60_000
/** Time limit of an index step in milliseconds. Other requests wait until the step ends. */
const STEP_MS = 8
const HEALTH_BYTES = 32
/** Label prefix of Latchkey's own keys. No key id contains a space. */
const OWN_PREFIX = 'latchkey '

export interface EncryptOrder {
  readonly ref: string
  /** Expected key-check value; empty accepts any key. */
  readonly check: Buffer
  readonly plaintext: Buffer
  readonly aad: Buffer
  readonly verify: boolean
  /** Bytes to hash before IV, ciphertext and tag; undefined to skip the hash. */
  readonly digestPrefix: Buffer | undefined
}

export interface EncryptResult extends SealedByToken {
  readonly digest: Buffer | undefined
  readonly verifyMs: number
}

export class TokenWorkerProgram {
  readonly #module: Pkcs11Module
  readonly #start: StartCall
  readonly #clock: Clock
  readonly #gcm: AesGcm
  readonly #options: KeyHandlesOptions
  readonly #keys: KeyHandles
  readonly #index: TokenIndex
  readonly #names: HandleNames
  /** Handles of health keys, which are always found by label. */
  readonly #healthKeys: KeyHandles
  readonly #token: TokenSession
  /** The key that was used last. */
  #lastRef = ''

  constructor(module: Pkcs11Module, start: StartCall, clock: Clock) {
    this.#module = module
    this.#start = start
    this.#clock = clock
    this.#gcm = createAesGcm(module, start.iv)
    const gcm = this.#gcm
    const isReserved = (label: string) =>
      label === start.healthKey || (label.startsWith(OWN_PREFIX) && label !== start.ownKey)
    this.#options = { module, gcm, keysBy: start.keysBy, isReserved }
    this.#keys = new KeyHandles(this.#options)
    this.#index = new TokenIndex({ ...this.#options, handles: this.#keys })
    this.#names = new HandleNames(this.#options, this.#keys)
    this.#healthKeys = new KeyHandles({ module, gcm, keysBy: 'label', isReserved: () => false })
    this.#token = new TokenSession(module, start, clock, {
      onLogin: () => {
        this.#keys.forget()
        this.#index.forget()
        this.#names.forget()
        this.#healthKeys.forget()
      },
      onStaleHandle: () => {
        this.#keys.keep(this.#lastRef, undefined)
        this.#healthKeys.forget()
      },
      probe: (session) => {
        this.#roundTrip(session, crypto.randomBytes(HEALTH_BYTES), Buffer.alloc(0))
      },
    })
  }

  /** Logs in and tests that the token supports its configuration. */
  open(): TokenFacts {
    const facts = this.#unhurried(() => this.#token.facts())
    this.#checkMechanism(facts)
    this.#tryMode((session) => {
      this.#ensureHealthKey(session)
    })
    const { selfTest } = this.#start
    if (selfTest !== undefined) {
      this.#tryMode((session) => {
        this.#roundTrip(
          session,
          crypto.randomBytes(selfTest.plaintextBytes),
          crypto.randomBytes(selfTest.aadBytes),
        )
      })
    }
    const { missing } = this.#gcm
    return missing === undefined ? facts : { ...facts, withoutAddOn: missing }
  }

  /** Runs `work`. If `work` fails although the token works, the token is misconfigured. */
  #tryMode(work: (session: Handle) => void): void {
    try {
      this.#unhurried(work)
    } catch (error) {
      if (!(error instanceof WorkerFailure)) throw error
      const { code, recovery, message } = error.wire
      if (code !== 'CONTRACT' && !(code === 'UNAVAILABLE' && recovery === 'drop')) throw error
      throw new WorkerFailure(
        'MISCONFIGURED',
        `the token does not encrypt with iv: ${this.#start.iv} (${message})`,
        { hint: 'see docs/hsm/ for the IV mode that each HSM requires' },
      )
    }
  }

  call(call: WorkerCall): unknown {
    switch (call.call) {
      case 'health':
        this.#unhurried((session) => {
          this.#roundTrip(session, crypto.randomBytes(HEALTH_BYTES), Buffer.alloc(0))
        })
        return undefined
      case 'describe':
        return this.#unhurried((session) => this.#describe(session, call.name, call.search))
      case 'list':
        return this.#unhurried((session) => listKeys(session, this.#options, call.page))
      case 'index':
        return this.#inStep((session, mayGoOn) => this.#index.step(session, call, mayGoOn))
      case 'share':
        return this.#inStep((session, mayGoOn) => this.#names.share(session, call, mayGoOn))
      case 'names':
        return this.#inStep((session, mayGoOn) => this.#names.step(session, mayGoOn))
      case 'create':
        return this.#unhurried((session) => this.#create(session, call))
      case 'destroy':
        this.#unhurried((session) => {
          this.#destroy(session, encodeRef(call.name, call.version))
        })
        return undefined
    }
  }

  encrypt(order: EncryptOrder, endsAt: number): EncryptResult {
    return this.#token.run('encrypt', endsAt, (session) => {
      const handle = this.#find(session, order.ref, order.check)
      const { plaintext, aad } = order
      const { iv, sealed } = this.#gcm.encrypt(session, handle, plaintext, aad)
      // Hash before decrypting, so that a bit flip in between is detected (XKS 1.0.3, Appendix C).
      const { digestPrefix: prefix } = order
      const digest = prefix && crypto.hash('sha256', Buffer.concat([prefix, iv, sealed]), 'buffer')
      if (!order.verify) return { iv, sealed, digest, verifyMs: 0 }
      const startedAt = this.#clock.monotonic()
      const opened = this.#gcm.decrypt(session, handle, iv, sealed, aad)
      if (!equalBytes(opened, plaintext)) {
        throw new WorkerFailure(
          'CONTRACT',
          'the token decrypted its own ciphertext to different bytes',
        )
      }
      return { iv, sealed, digest, verifyMs: this.#clock.monotonic() - startedAt }
    })
  }

  decrypt(
    order: { ref: string; check: Buffer; iv: Buffer; sealed: Buffer; aad: Buffer },
    endsAt: number,
  ): Buffer {
    return this.#token.run('decrypt', endsAt, (session) => {
      const handle = this.#find(session, order.ref, order.check)
      return this.#gcm.decrypt(session, handle, order.iv, order.sealed, order.aad)
    })
  }

  #unhurried<T>(work: (session: Handle) => T, direction: Direction = 'encrypt'): T {
    return this.#token.run(direction, this.#clock.monotonic() + UNHURRIED_MS, work)
  }

  #inStep<T>(work: (session: Handle, mayGoOn: () => boolean) => T): T {
    const until = this.#clock.monotonic() + STEP_MS
    return this.#unhurried((session) => work(session, () => this.#clock.monotonic() < until))
  }

  #find(session: Handle, ref: string, check: Buffer): Handle {
    this.#lastRef = ref
    const key = this.#keys.use(session, ref, check)
    if (key === undefined) throw this.#toMissing(session)
    return key.handle
  }

  /** Reports a missing key only if the token works. */
  #toMissing(session: Handle): WorkerFailure {
    this.#roundTrip(session, crypto.randomBytes(HEALTH_BYTES), Buffer.alloc(0))
    return new WorkerFailure('KEY_NOT_FOUND', 'there is no such key on the token')
  }

  #roundTrip(session: Handle, plaintext: Buffer, aad: Buffer): void {
    const key = this.#healthKeys.findAny(session, this.#start.healthKey)
    if (key === undefined) {
      throw new WorkerFailure('UNAVAILABLE', 'the token has no key for health checks')
    }
    const { iv, sealed } = this.#gcm.encrypt(session, key, plaintext, aad)
    const opened = this.#gcm.decrypt(session, key, iv, sealed, aad)
    if (!equalBytes(opened, plaintext)) {
      throw new WorkerFailure(
        'UNAVAILABLE',
        'the token decrypted its own ciphertext to different bytes',
      )
    }
  }

  #checkMechanism(facts: TokenFacts): void {
    const { cryptoki } = this.#module
    const mechanism = mechanismOf(this.#start.iv)
    const list = invoke('C_GetMechanismList', () => cryptoki.C_GetMechanismList(this.#token.slot()))
    if (list.includes(mechanism)) return
    const name = mechanism === mechanismOf('host') ? 'CKM_AES_GCM' : 'CKM_CLOUDHSM_AES_GCM'
    throw new WorkerFailure(
      'MISCONFIGURED',
      `the token ${JSON.stringify(facts.label)} (${facts.model}) does not support ${name}`,
      { hint: 'Latchkey needs AES-256-GCM; see docs/hsm/ for the products that support it' },
    )
  }

  #ensureHealthKey(session: Handle): void {
    const { healthKey: label } = this.#start
    if (this.#healthKeys.findAny(session, label) !== undefined) return
    try {
      createKey(this.#module, session, { label, canEncrypt: true, canDecrypt: true })
    } catch (error) {
      if (!(error instanceof CkrFailure) || error.row.recovery !== 'drop') throw error
      throw new WorkerFailure(
        'MISCONFIGURED',
        `there is no key ${JSON.stringify(label)} for health checks, and ${error.message}`,
        {
          hint: 'create an AES-256 key with this label, or name a different key in backends[].healthKey',
        },
      )
    }
  }

  #describe(session: Handle, name: string, search: VersionSearch): readonly TokenKey[] {
    const versions = this.#keys.versions(session, name, search).map(toTokenKey)
    if (versions.length === 0) throw this.#toMissing(session)
    return versions
  }

  #create(session: Handle, key: NewTokenKey): TokenKey {
    const ref = encodeRef(key.name, key.version)
    const isById = this.#start.keysBy === 'id'
    // On NSS, a second key with the same id silently replaces the first.
    if (this.#keys.find(session, ref) !== undefined) {
      throw new WorkerFailure('KEY_EXISTS', `the key ${ref} already exists on the token`)
    }
    createKey(this.#module, session, {
      label: ref,
      ...(isById ? { id: key.name } : {}),
      canEncrypt: key.canEncrypt,
      canDecrypt: key.canDecrypt,
      ...(key.material === undefined ? {} : { material: Buffer.from(key.material, 'base64') }),
    })
    const created = this.#keys.find(session, ref)
    if (created === undefined) throw new WorkerFailure('UNAVAILABLE', 'cannot find the new key')
    return toTokenKey(created)
  }

  #destroy(session: Handle, ref: string): void {
    const handle = this.#find(session, ref, Buffer.alloc(0))
    invoke('C_DestroyObject', () => {
      this.#module.cryptoki.C_DestroyObject(session, handle)
    })
    this.#keys.forget()
    this.#index.forget()
  }
}
