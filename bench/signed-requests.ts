/** Builds a case's requests. They are signed when the run starts, because signatures expire after five minutes. */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import { Secret } from '../src/core/secret.ts'
import { openConnection } from '../src/kms/client/connection.ts'
import { encryptBody as anyEncryptBody, requestMetadata } from '../src/kms/client/requests.ts'
import { signHeaders } from '../src/kms/client/signing.ts'
import type { BenchOperation } from './matrix.ts'
import { decryptBody, encryptBody, healthBody, signedRequest, type SignFor } from './requests.ts'

const REQUESTS = 512
const TIMEOUT_MS = 10_000
const REGION = 'us-east-1'

/** @param sealed the same server's response to an Encrypt request */
export function makeRequests(
  operation: BenchOperation,
  signer: SignFor,
  sealed: Record<string, string>,
): readonly string[] {
  const path = operation === 'health' ? '/health' : `/keys/${signer.keyId}/${operation}`
  const body = { encrypt: encryptBody, decrypt: () => decryptBody(sealed), health: healthBody }
  return Array.from({ length: REQUESTS }, () => signedRequest(path, body[operation](), signer))
}

/** Encrypts one data key for the Decrypt requests. */
export async function sealOne(
  at: { readonly host: string; readonly port: number; readonly caFile: string },
  signer: SignFor,
): Promise<Record<string, string>> {
  const ca = await readFile(at.caFile, 'utf8')
  const connection = await openConnection(
    { host: at.host, port: at.port, ca },
    { timeoutMs: TIMEOUT_MS },
  )
  try {
    const target = `${signer.uriPath ?? '/demo/kms/xks/v1'}/keys/${signer.keyId}/encrypt`
    const body = anyEncryptBody(requestMetadata('GenerateDataKey', REGION), {
      plaintext: Buffer.alloc(32, 1),
    })
    const headers = signHeaders(
      { host: signer.host ?? 'localhost', target, body },
      {
        accessKeyId: signer.accessKeyId,
        secretAccessKey: new Secret(signer.secretAccessKey),
        region: REGION,
      },
    )
    const answer = await connection.exchange({ target, headers, body }, TIMEOUT_MS)
    if (answer.status !== 200)
      throw new Error(`the response to Encrypt had status ${String(answer.status)}`)
    return answer.body as Record<string, string>
  } finally {
    connection.close()
  }
}
