/** A process that changes keys and encrypts as fast as it can, and announces each change before and after making it. */
// SPDX-License-Identifier: Apache-2.0
import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes, randomInt } from 'node:crypto'
import { writeSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { silentLogger } from '../../src/core/logger.ts'
import type { KeyAdministration, KeyStatus } from '../../src/keys/administration.ts'
import type { KeyBackend } from '../../src/keys/key-backend.ts'
import { openSoftwareKeystore } from '../../src/keys/software/software-keystore.ts'
import { systemClock as clock } from '../../src/core/clock.ts'
import { Deadline } from '../../src/core/deadline.ts'
import { Secret } from '../../src/core/secret.ts'
import { openAdministration } from '../../src/app/administration.ts'
import { toStoreOptions } from '../../src/app/store.ts'
import { loadConfig } from '../../src/config/load.ts'
import { openStore } from '../../src/store/store.ts'
import { keyId } from './server.ts'
import { keyStoreName } from './store.ts'

export type Change =
  | { readonly kind: 'create'; readonly keyId: string }
  /** `material` is in Base64. */
  | { readonly kind: 'import'; readonly keyId: string; readonly material: string }
  | { readonly kind: 'rotate'; readonly keyId: string }
  | { readonly kind: 'status'; readonly keyId: string; readonly status: KeyStatus }
  | { readonly kind: 'destroy'; readonly keyId: string; readonly version: number }

/** Byte strings are encoded in Base64. */
export interface Encrypted {
  readonly keyId: string
  readonly version: number
  readonly plaintext: string
  readonly iv: string
  readonly ciphertext: string
  readonly tag: string
}

/** A line of the storm's standard output. `did` and `encrypted` are acknowledgements. */
export type Line =
  | { readonly will: Change }
  | { readonly did: Change }
  | { readonly didNot: Change }
  | { readonly encrypted: Encrypted }

export const STORM_AAD = Buffer.from('storm')
/** A small block size, so that new blocks are reserved continually. */
export const STORM_USES = { blockUses: 4, maxUses: 2 ** 32 }
const MAX_KEYS = 20
const SELF = fileURLToPath(import.meta.url)

/** Writes synchronously with a single call, so that killing the process afterwards cannot lose the line. */
function say(line: Line): void {
  writeSync(1, `${JSON.stringify(line)}\n`)
}

function pick<T>(from: readonly T[]): T | undefined {
  return from.length === 0 ? undefined : from[randomInt(from.length)]
}

/** Chooses a change that is possible in the current state. */
async function chooseChange(keys: KeyAdministration): Promise<Change> {
  const known = await keys.listKeys()
  const id = `key-${randomBytes(6).toString('hex')}`
  const key = pick(known)
  const dice = randomInt(10)
  if (key === undefined || (known.length < MAX_KEYS && dice < 3)) {
    return dice % 2 === 0
      ? { kind: 'create', keyId: id }
      : { kind: 'import', keyId: id, material: randomBytes(32).toString('base64') }
  }
  const previous = pick(key.versions.filter(({ state }) => state === 'PREVIOUS'))
  if (dice < 5 && previous !== undefined)
    return { kind: 'destroy', keyId: key.keyId, version: previous.version }
  if (dice < 7) {
    const status = key.status === 'ENABLED' ? 'DISABLED' : 'ENABLED'
    return { kind: 'status', keyId: key.keyId, status }
  }
  return { kind: 'rotate', keyId: key.keyId }
}

async function make(keys: KeyAdministration, change: Change): Promise<void> {
  const id = keyId(change.keyId)
  const usage = { keyId: id, canEncrypt: true, canDecrypt: true }
  switch (change.kind) {
    case 'create':
      await keys.createKey(usage)
      return
    case 'import': {
      const material = new Secret(Buffer.from(change.material, 'base64'))
      await keys.createKey({ ...usage, material })
      return
    }
    case 'rotate':
      await keys.rotateKey(id)
      return
    case 'status':
      await keys.setKeyStatus(id, change.status)
      return
    case 'destroy':
      await keys.destroyVersion(id, change.version)
      return
  }
}

/**
 * Returns whether the store was busy, the only failure that concurrent connections may cause. If it was, nothing has
 * changed.
 */
function isBusy(error: unknown): boolean {
  const { code, cause } = error as { code?: string; cause?: { code?: string } }
  return code === 'STORE_BUSY' || cause?.code === 'STORE_BUSY'
}

async function encryptOnce(backend: KeyBackend, name: string): Promise<void> {
  const id = keyId(name)
  const deadline = new Deadline(clock, 20_000)
  const key = await backend.find(id, deadline)
  if (!key.enabled) return
  const version = key.currentVersion
  const plaintext = randomBytes(randomInt(64))
  const sealed = await key.encrypt({ version, plaintext, aad: STORM_AAD, deadline })
  const text = (bytes: Buffer) => bytes.toString('base64')
  const { iv, ciphertext, tag } = sealed
  say({
    encrypted: {
      ...{ keyId: name, version, plaintext: text(plaintext) },
      ...{ iv: text(iv), ciphertext: text(ciphertext), tag: text(tag) },
    },
  })
}

/** Runs until the process is killed. Changes run in sequence; encryptions run concurrently. */
async function storm(configFile: string): Promise<never> {
  const config = await loadConfig(configFile, {})
  const name = keyStoreName('demo')
  const keys = (await openAdministration(config)).keys(name)
  const store = await openStore(await toStoreOptions(config))
  const keystore = await openSoftwareKeystore({
    store,
    clock,
    version: '0',
    logger: silentLogger,
    uses: STORM_USES,
  })
  const backend = keystore.backend(name)

  const change = async () => {
    const chosen = await chooseChange(keys)
    say({ will: chosen })
    try {
      await make(keys, chosen)
      say({ did: chosen })
    } catch (error) {
      if (!isBusy(error)) throw error
      say({ didNot: chosen })
    }
    await keystore.reload()
  }
  const encrypt = async () => {
    const key = pick(await keys.listKeys())
    try {
      if (key !== undefined) await encryptOnce(backend, key.keyId)
    } catch (error) {
      const { code } = error as { code?: string }
      const isPast = ['KEY_NOT_FOUND', 'KEY_DISABLED', 'VERSION_NOT_FOUND'].includes(code ?? '')
      if (!isPast && !isBusy(error)) throw error
    }
  }
  const forEver = async (step: () => Promise<void>): Promise<never> => {
    for (;;) await step()
  }
  return Promise.race([forEver(change), forEver(encrypt), forEver(encrypt)])
}

export function startStorm(configFile: string): ChildProcess {
  return spawn(process.execPath, [SELF, configFile], { stdio: ['ignore', 'pipe', 'pipe'] })
}

if (process.argv[1] === SELF) await storm(process.argv[2] ?? '')
