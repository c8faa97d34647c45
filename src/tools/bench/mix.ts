/** Generates the load for a proxy: operations in KMS's typical proportions, with each request freshly signed. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { probeAad } from '../../core/probe.ts'
import { openConnection, type WireRequest } from '../../kms/client/connection.ts'
import {
  decryptBody,
  encryptBody,
  probeHealthBody,
  getKeyMetadataBody,
  probeMetadata,
  type DecryptArguments,
} from '../../kms/client/requests.ts'
import { signHeaders } from '../../kms/client/signing.ts'
import { LatchkeyError } from '../../core/errors.ts'
import { UsageError } from '../../terminal/command.ts'
import { describe } from '../doctor/answers.ts'
import { sealedOf } from '../doctor/operations.ts'
import type { Remote } from '../../terminal/flags/remote.ts'

export const OPERATIONS = ['decrypt', 'encrypt', 'metadata', 'health'] as const
export type LoadOperation = (typeof OPERATIONS)[number]

/** Weights as whole numbers. An operation without a weight is not called. */
export type Mix = Readonly<Partial<Record<LoadOperation, number>>>

/**
 * The mix that KMS sends on behalf of S3, EBS and similar services: each data key is created once
 * and decrypted many times, while key descriptions and health checks are occasional.
 */
export const KMS_MIX: Mix = { decrypt: 70, encrypt: 28, metadata: 1, health: 1 }

/** Parses a mix such as `decrypt=70,encrypt=30`. @throws UsageError */
export function parseMix(text: string): Mix {
  const mix: Partial<Record<LoadOperation, number>> = {}
  for (const part of text.split(',')) {
    const [, name = '', weight = ''] = /^([a-z]+)=(\d{1,4})$/.exec(part.trim()) ?? []
    const operation = OPERATIONS.find((one) => one === name)
    if (operation === undefined) {
      throw new UsageError(
        'USAGE',
        `--mix: expected a list such as encrypt=30,decrypt=70; the operations are ${OPERATIONS.join(', ')}`,
      )
    }
    mix[operation] = Number(weight)
  }
  if (Object.values(mix).every((weight) => weight === 0)) {
    throw new UsageError('USAGE', '--mix: expected at least one operation with a weight above 0')
  }
  return mix
}

export interface RequestSource {
  /** Returns the next request of the mix, signed at the time of the call. */
  next(): { readonly operation: LoadOperation; readonly request: WireRequest }
}

/**
 * Number of different ciphertexts to decrypt. A larger number would only measure the client's
 * memory.
 */
const CIPHERTEXTS = 32
const PREPARE_TIMEOUT_MS = 5000
const DATA_KEY_BYTES = 32
/** Size of the AAD in bytes, about that of an S3 encryption context. */
const AAD_BYTES = 96

/** Encrypts a few data keys for later decryption. @throws EndpointError, LatchkeyError */
export async function createRequestSource(
  remote: Remote,
  keyId: string,
  mix: Mix,
): Promise<RequestSource> {
  const sealed = (mix.decrypt ?? 0) > 0 ? await sealDataKeys(remote, keyId) : []
  const order = spread(mix)
  const { region } = remote.credential
  let count = 0
  const bodies: Readonly<Record<LoadOperation, () => string>> = {
    decrypt: () => {
      const input = sealed[count % sealed.length]
      if (input === undefined) throw new TypeError('there are no ciphertexts to decrypt')
      return decryptBody(probeMetadata('Decrypt', region), input)
    },
    encrypt: () => encryptBody(probeMetadata('GenerateDataKey', region), dataKey()),
    metadata: () => getKeyMetadataBody(probeMetadata('DescribeKey', region)),
    health: () => probeHealthBody(),
  }
  return {
    next() {
      const operation = order[count % order.length] ?? 'health'
      const body = bodies[operation]()
      count += 1
      return { operation, request: sign(remote, pathOf(operation, keyId), body) }
    },
  }
}

const dataKey = () => ({
  plaintext: randomBytes(DATA_KEY_BYTES),
  aad: probeAad(AAD_BYTES),
  cdiv: true,
})

const pathOf = (operation: LoadOperation, keyId: string) =>
  operation === 'health' ? '/health' : `/keys/${keyId}/${operation}`

function sign(remote: Remote, path: string, body: string): WireRequest {
  const target = `${remote.uriPath}${path}`
  return {
    target,
    headers: signHeaders({ host: remote.hostHeader, target, body }, remote.credential),
    body,
  }
}

async function sealDataKeys(remote: Remote, keyId: string): Promise<readonly DecryptArguments[]> {
  const connection = await openConnection(remote.endpoint, { timeoutMs: PREPARE_TIMEOUT_MS })
  try {
    const sealed: DecryptArguments[] = []
    for (let i = 0; i < CIPHERTEXTS; i++) {
      const input = dataKey()
      const metadata = probeMetadata('GenerateDataKey', remote.credential.region)
      const request = sign(remote, pathOf('encrypt', keyId), encryptBody(metadata, input))
      const answer = await connection.exchange(request, PREPARE_TIMEOUT_MS)
      const one = answer.status === 200 ? sealedOf(answer, input.aad) : undefined
      if (one === undefined) {
        throw new LatchkeyError(
          'BENCH_REFUSED',
          `the response to Encrypt was ${describe(answer)}`,
          {
            hint: 'run latchkey doctor for details',
          },
        )
      }
      sealed.push(one)
    }
    return sealed
  } finally {
    connection.close()
  }
}

/** Builds one cycle of the mix with each operation spread evenly. */
export function spread(mix: Mix): readonly LoadOperation[] {
  const weights = OPERATIONS.map((operation) => ({ operation, weight: mix[operation] ?? 0 }))
  const total = weights.reduce((sum, { weight }) => sum + weight, 0)
  const owed = new Map(OPERATIONS.map((operation) => [operation, 0]))
  return Array.from({ length: total }, () => {
    for (const { operation, weight } of weights)
      owed.set(operation, (owed.get(operation) ?? 0) + weight)
    const [first] = [...owed].sort(([, a], [, b]) => b - a)
    const operation = first?.[0] ?? 'health'
    owed.set(operation, (owed.get(operation) ?? 0) - total)
    return operation
  })
}
