/** Sends concurrent requests of all kinds and checks each response, distinguishing wrong results from failures. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes, randomInt } from 'node:crypto'
import type { DecryptArguments } from '../../../src/kms/client/requests.ts'
import type { KmsSideClient, KmsSideResponse } from '../../../src/kms/client/client.ts'

export interface MixedLoadPlan {
  readonly client: KmsSideClient
  readonly keyId: string
  readonly connections: number
  /** Maximum number of requests (default: until `isOver` returns true). */
  readonly requests?: number
  readonly isOver?: () => boolean
  /** Maximum number of ciphertexts to keep for later decryption. */
  readonly keep?: number
}

export interface MixedLoadReport {
  readonly answers: number
  /** Requests that KMS would have retried, counted by errorName or `connection`. */
  readonly failures: ReadonlyMap<string, number>
  /** Descriptions of wrong results. There must be none. */
  readonly wrong: readonly string[]
  readonly kept: readonly Kept[]
  /** Latencies in milliseconds, in ascending order. */
  readonly latencies: readonly number[]
}

export interface Kept extends DecryptArguments {
  readonly plaintext: Buffer
}

/** Errors that KMS counts against an external key store's reliability, and after which it retries. */
const MAY_FAIL: ReadonlySet<string> = new Set([
  'DependencyTimeoutException',
  'InternalException',
  'ThrottlingException',
  'connection',
])

export async function runMixedLoad(plan: MixedLoadPlan): Promise<MixedLoadReport> {
  const { client, keyId, keep = Infinity } = plan
  const failures = new Map<string, number>()
  const wrong: string[] = []
  const kept: Kept[] = []
  const latencies: number[] = []
  let begun = 0

  /** Returns undefined if the request failed with a permitted error. */
  async function ask(
    what: string,
    request: () => Promise<KmsSideResponse>,
    expected: string | undefined,
  ): Promise<Record<string, string> | undefined> {
    const startedAt = performance.now()
    const answer = await request().catch(() => undefined)
    latencies.push(performance.now() - startedAt)
    const body = (answer?.body ?? {}) as Record<string, string>
    const name = answer === undefined ? 'connection' : body['errorName']
    if (name === expected && (answer?.status === 200) === (expected === undefined)) return body
    if (name !== undefined && MAY_FAIL.has(name)) failures.set(name, (failures.get(name) ?? 0) + 1)
    else wrong.push(`${what}: ${String(answer?.status)} ${name ?? JSON.stringify(body)}`)
    return undefined
  }

  async function encrypt(): Promise<void> {
    const plaintext = randomBytes(randomInt(1, 128))
    const aad = randomBytes(randomInt(0, 64))
    const cdiv = randomInt(2) === 0
    const body = await ask(
      'encrypt',
      () => client.encrypt(keyId, { plaintext, aad, cdiv }),
      undefined,
    )
    if (body === undefined || kept.length >= keep) return
    const field = (name: string) => Buffer.from(body[name] ?? '', 'base64')
    kept.push({
      plaintext,
      aad,
      ciphertext: field('ciphertext'),
      ciphertextMetadata: field('ciphertextMetadata'),
      initializationVector: field('initializationVector'),
      authenticationTag: field('authenticationTag'),
    })
  }

  async function decrypt(one: Kept): Promise<void> {
    const { plaintext, ...sealed } = one
    const body = await ask('decrypt', () => client.decrypt(keyId, sealed), undefined)
    if (body === undefined) return
    if (!Buffer.from(body['plaintext'] ?? '', 'base64').equals(plaintext))
      wrong.push('decrypt: other bytes')
  }

  async function decryptBroken({ plaintext: _, ...sealed }: Kept): Promise<void> {
    const broken = { ...sealed, authenticationTag: randomBytes(16) }
    const expected = 'InvalidCiphertextException'
    await ask('decrypt, broken', () => client.decrypt(keyId, broken), expected)
  }

  async function one(): Promise<void> {
    const some = kept[randomInt(Math.max(1, kept.length))]
    const dice = randomInt(20)
    if (some === undefined || dice < 9) await encrypt()
    else if (dice < 16) await decrypt(some)
    else if (dice < 19) await decryptBroken(some)
    else await ask('metadata', () => client.getKeyMetadata(keyId), undefined)
  }

  const goesOn = () =>
    plan.requests === undefined ? plan.isOver?.() !== true : begun < plan.requests
  const connection = async () => {
    while (goesOn()) {
      begun += 1
      await one()
    }
  }
  await Promise.all(Array.from({ length: plan.connections }, connection))
  latencies.sort((a, b) => a - b)
  return { answers: latencies.length, failures, wrong, kept, latencies }
}

/**
 * Decrypts all ciphertexts, and repeats each attempt that fails with a permitted error.
 * @returns the ciphertexts with a wrong result
 */
export async function findLost(
  client: KmsSideClient,
  keyId: string,
  kept: readonly Kept[],
): Promise<readonly unknown[]> {
  const lost: unknown[] = []
  const queue = [...kept]
  const connection = async () => {
    for (let one = queue.pop(); one !== undefined; one = queue.pop()) {
      const { plaintext, ...sealed } = one
      const { status, body } = await client.decrypt(keyId, sealed)
      const { plaintext: text = '', errorName = '' } = body as Record<string, string>
      if (MAY_FAIL.has(errorName)) queue.push(one)
      else if (status !== 200 || !Buffer.from(text, 'base64').equals(plaintext)) lost.push(body)
    }
  }
  await Promise.all(Array.from({ length: 8 }, connection))
  return lost
}

/** @param share the quantile, between 0 and 1 */
export function percentile(ascending: readonly number[], share: number): number {
  return ascending[Math.min(ascending.length - 1, Math.ceil(ascending.length * share) - 1)] ?? NaN
}

export function sum(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((total, count) => total + count, 0)
}
