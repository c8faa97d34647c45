/**
 * Measures the same work, one call at a time, in four ways: AES-GCM in process, the key backend
 * alone, the proxy over a persistent connection, and the proxy over new connections.
 */
// SPDX-License-Identifier: Apache-2.0
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createSecretKey,
  randomBytes,
} from 'node:crypto'
import type { KeyBackend } from '../../keys/key-backend.ts'
import { systemClock } from '../../core/clock.ts'
import { Deadline } from '../../core/deadline.ts'
import type { ExternalKeyId } from '../../core/ids.ts'
import type { Connection } from '../../kms/client/connection.ts'
import { openConnection } from '../../kms/client/connection.ts'
import { createLatencies, type Latencies } from '../bench/histogram.ts'
import { createRequestSource, type LoadOperation, type RequestSource } from '../bench/mix.ts'
import type { Remote } from '../../terminal/flags/remote.ts'
import type { Measured, ReportData, Rung } from './findings.ts'

const DATA_KEY_BYTES = 32
const AAD_BYTES = 96
const TIMEOUT_MS = 5000
/** Number of warm-up calls that are not measured. */
const WARM_UP = 200
const WARM_UP_CONNECTIONS = 3

const clock = systemClock

type Step = () => Promise<void> | void

async function measure(count: number, warmUp: number, step: Step): Promise<Measured> {
  const latencies = createLatencies()
  for (let i = -warmUp; i < count; i++) {
    const startedAt = clock.monotonic()
    const pending = step()
    if (pending !== undefined) await pending
    if (i >= 0) latencies.record(clock.monotonic() - startedAt)
  }
  return toMeasured(latencies)
}

const toMeasured = (latencies: Latencies): Measured => ({
  summary: latencies.summary(),
  curve: latencies.curve(),
})

/**
 * Measures AES-256-GCM with node:crypto: encryption, hash and verifying decryption together, then
 * decryption alone.
 */
export async function measureInProcess(count: number): Promise<Rung> {
  const key = createSecretKey(randomBytes(32))
  const plaintext = randomBytes(DATA_KEY_BYTES)
  const aad = randomBytes(AAD_BYTES)
  const seal = () => {
    const iv = randomBytes(12)
    const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(aad)
    const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()])
    return { iv, ciphertext, tag: cipher.getAuthTag() }
  }
  const open = ({ iv, ciphertext, tag }: ReturnType<typeof seal>) => {
    const decipher = createDecipheriv('aes-256-gcm', key, iv).setAAD(aad).setAuthTag(tag)
    return Buffer.concat([decipher.update(ciphertext), decipher.final()])
  }
  const sealed = seal()
  return {
    name: 'in-process',
    encrypt: await measure(count, WARM_UP, () => {
      const made = seal()
      createHash('sha256')
        .update(aad)
        .update(made.iv)
        .update(made.ciphertext)
        .update(made.tag)
        .digest()
      open(made)
    }),
    decrypt: await measure(count, WARM_UP, () => {
      open(sealed)
    }),
  }
}

/**
 * Measures the backend calls that the proxy makes: find, encrypt and verify for Encrypt; find and
 * decrypt for Decrypt.
 */
export async function measureBackend(
  backend: KeyBackend,
  keyId: ExternalKeyId,
  count: number,
): Promise<Rung> {
  const plaintext = randomBytes(DATA_KEY_BYTES)
  const aad = randomBytes(AAD_BYTES)
  const seal = async () => {
    const deadline = new Deadline(clock, TIMEOUT_MS)
    const key = await backend.find(keyId, deadline)
    const version = key.currentVersion
    return { version, ...(await key.encrypt({ version, plaintext, aad, deadline })) }
  }
  const open = async (made: Awaited<ReturnType<typeof seal>>) => {
    const deadline = new Deadline(clock, TIMEOUT_MS)
    const key = await backend.find(keyId, deadline)
    return key.decrypt({ ...made, aad, deadline })
  }
  const sealed = await seal()
  return {
    name: 'backend',
    encrypt: await measure(count, WARM_UP, async () => {
      await open(await seal())
    }),
    decrypt: await measure(count, WARM_UP, async () => {
      await backend.find(keyId, new Deadline(clock, TIMEOUT_MS))
      await open(sealed)
    }),
  }
}

/** Measures one persistent connection, sending each request after the previous response arrives. */
export async function measureKept(remote: Remote, keyId: string, count: number): Promise<Rung> {
  const connection = await openConnection(remote.endpoint, { timeoutMs: TIMEOUT_MS })
  try {
    const by = async (operation: LoadOperation) => {
      const source = await createRequestSource(remote, keyId, { [operation]: 1 })
      return measure(count, WARM_UP, () => call(connection, source))
    }
    return { name: 'kept', encrypt: await by('encrypt'), decrypt: await by('decrypt') }
  } finally {
    connection.close()
  }
}

/**
 * Measures requests that each open a new connection, with TCP, TLS without resumption, and HTTP.
 */
export async function measureNew(
  remote: Remote,
  keyId: string,
  count: number,
): Promise<{ readonly rung: Rung; readonly connectMs: ReportData['connectMs'] }> {
  const phases = {
    dns: createLatencies(),
    connect: createLatencies(),
    handshake: createLatencies(),
  }
  const by = async (operation: LoadOperation) => {
    const source = await createRequestSource(remote, keyId, { [operation]: 1 })
    return measure(count, WARM_UP_CONNECTIONS, async () => {
      const connection = await openConnection(remote.endpoint, { timeoutMs: TIMEOUT_MS })
      phases.dns.record(connection.phases.dnsMs)
      phases.connect.record(connection.phases.connectMs)
      phases.handshake.record(connection.phases.handshakeMs)
      await call(connection, source)
      connection.close()
    })
  }
  return {
    rung: { name: 'new', encrypt: await by('encrypt'), decrypt: await by('decrypt') },
    connectMs: {
      dns: phases.dns.summary(),
      connect: phases.connect.summary(),
      handshake: phases.handshake.summary(),
    },
  }
}

async function call(connection: Connection, source: RequestSource): Promise<void> {
  const { operation, request } = source.next()
  const { status, text } = await connection.exchange(request, TIMEOUT_MS)
  if (status !== 200)
    throw new Error(
      `the response to ${operation} had status ${String(status)}: ${text.slice(0, 200)}`,
    )
}
