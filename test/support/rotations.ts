/** Rotates a key and encrypts with it, from another process that uses the same store. */
// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { silentLogger } from '../../src/core/logger.ts'
import { openSoftwareKeystore } from '../../src/keys/software/software-keystore.ts'
import { systemClock } from '../../src/core/clock.ts'
import { Deadline } from '../../src/core/deadline.ts'
import { openStore } from '../../src/store/store.ts'
import { promised } from '../../src/keys/suite/promised-backend.ts'
import { keyId } from './server.ts'
import { keyStoreName } from './store.ts'

export interface Rotations {
  readonly path: string
  readonly masterKeyFile: string
  readonly keyId: string
  readonly rounds: number
  /** Number of encryptions to reserve at a time. */
  readonly blockUses: number
}

const AAD = Buffer.from('aad')
const SELF = fileURLToPath(import.meta.url)

/** Rotates the key and encrypts with its first version, once per round. */
export async function rotate(work: Rotations): Promise<void> {
  const store = await openStore({
    path: work.path,
    masterKey: { kind: 'file', path: work.masterKeyFile },
    clock: systemClock,
    // The deadline is long, because the processes wait for each other.
    deadlineMs: 20_000,
  })
  const keystore = await openSoftwareKeystore({
    store,
    clock: systemClock,
    version: '0',
    logger: silentLogger,
    uses: { blockUses: work.blockUses, maxUses: 1e6 },
  })
  const name = keyStoreName('demo')
  const id = keyId(work.keyId)
  for (let round = 0; round < work.rounds; round++) {
    await insist(() => keystore.administration(name).rotateKey(id))
    const deadline = new Deadline(systemClock, 20_000)
    const request = { keyId: id, version: 1, plaintext: Buffer.alloc(32), aad: AAD, deadline }
    await insist(() => promised(keystore.backend(name)).encrypt(request))
  }
  await keystore.close()
  await store.close()
}

/** Retries if another process holds the lock for too long, as may happen on a busy machine. */
async function insist<T>(work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work()
    } catch (error) {
      const { code, cause } = error as { code?: string; cause?: { code?: string } }
      if (code !== 'STORE_BUSY' && cause?.code !== 'STORE_BUSY') throw error
    }
  }
}

/** Runs `rotate` in another process. Resolves to the process's exit code and standard error. */
export function rotateElsewhere(work: Rotations): Promise<{ code: number | null; stderr: string }> {
  const child = spawn(process.execPath, [SELF, JSON.stringify(work)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => {
      resolve({ code, stderr })
    })
  })
}

if (process.argv[1] === SELF) await rotate(JSON.parse(process.argv[2] ?? '') as Rotations)
