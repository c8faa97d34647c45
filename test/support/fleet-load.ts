/** Sends a steady stream of Decrypt requests to every fleet member, and records each outcome. */
// SPDX-License-Identifier: Apache-2.0
import { createKmsSideClient } from '../../src/kms/client/client.ts'
import type { Fleet, Outcome } from './fleet.ts'
import type { Window } from './fleet-check.ts'
import { eventually, KEY_ID, REGION } from './server.ts'

export interface Load {
  readonly outcomes: readonly Outcome[]
  /**
   * Starts a measurement window. First reads the responses that have already arrived, so that they count as earlier
   * than the window.
   */
  settle(): Promise<Pick<Window, 'from' | 'settledAt'>>
  /** Stops sending, and resolves once every request in progress has finished. */
  stop(): Promise<void>
}

interface Sealed {
  readonly ciphertext: string
  readonly ciphertextMetadata: string
  readonly initializationVector: string
  readonly authenticationTag: string
}

/** Timeout for a connection; KMS's own timeout is much shorter. */
const TIMEOUT_MS = 15_000
/** Pause after a failure, so that retrying a member that is down does not occupy the processor. */
const PAUSE_MS = 20
/**
 * Number of event loop turns to wait. The first turn reads the data in the kernel's buffers; later turns read data that
 * becomes readable as a result.
 */
const SETTLING_TURNS = 4

/** @param perMember the number of connections to each member, each with one request at a time */
export async function startLoad(fleet: Fleet, perMember: number): Promise<Load> {
  const clientOf = (port: number) =>
    createKmsSideClient({
      endpoint: `https://localhost:${String(port)}`,
      uriPath: '/demo/kms/xks/v1',
      accessKeyId: fleet.credential.accessKeyId,
      secretAccessKey: fleet.credential.secretAccessKey,
      region: REGION,
      caFile: fleet.pki.caFile,
      timeoutMs: TIMEOUT_MS,
    })
  const clients = fleet.members.map(({ port }) => clientOf(port))
  const { body } = (await clients[0]?.encrypt(KEY_ID, {
    plaintext: Buffer.alloc(32, 7),
  })) ?? { body: undefined }
  const sealed = body as Sealed
  const request = JSON.stringify({
    requestMetadata: {
      awsPrincipalArn: 'arn:aws:iam::123456789012:user/Alice',
      kmsKeyArn: 'arn:aws:kms:us-east-1:123456789012:key/1234abcd',
      kmsOperation: 'Decrypt',
      kmsRequestId: 'a-fleet-test',
    },
    encryptionAlgorithm: 'AES_GCM',
    ciphertext: sealed.ciphertext,
    ciphertextMetadata: sealed.ciphertextMetadata,
    initializationVector: sealed.initializationVector,
    authenticationTag: sealed.authenticationTag,
  })
  const outcomes: Outcome[] = []
  let stopped = false
  const run = async (member: number) => {
    const client = clients[member]
    while (!stopped && client !== undefined) {
      const askedAt = Date.now()
      const status = await client.post(`/keys/${KEY_ID}/decrypt`, request).then(
        (response) => response.status,
        () => 0,
      )
      outcomes.push({ member, askedAt, answeredAt: Date.now(), status })
      if (status !== 200) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
    }
  }
  const loops = fleet.members.flatMap((_, member) =>
    Array.from({ length: perMember }, () => run(member)),
  )
  return {
    outcomes,
    async settle() {
      const from = Date.now()
      for (let turn = 0; turn < SETTLING_TURNS; turn++) {
        await new Promise((resolve) => setImmediate(resolve))
      }
      return { from, settledAt: Date.now() }
    },
    async stop() {
      stopped = true
      await Promise.all(loops)
      await Promise.all(clients.map((client) => client.close()))
    },
  }
}

/** Waits until each of these members has answered a request sent after this call. */
export function untilServed(load: Load, members: readonly number[]): Promise<void> {
  const since = Date.now()
  const isServed = (member: number) =>
    load.outcomes.some((one) => one.member === member && one.askedAt >= since && one.status === 200)
  return eventually(() => members.every(isServed))
}
