/** Checks that the proxy accepts the sizes that every proxy must support. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { requestMetadata, type RequestMetadata } from '../../kms/client/requests.ts'
import { bodyOf, bytesOf, faultsOfSuccess } from './answers.ts'
import { createReporter, type Finding } from './finding.ts'
import { decrypt, encrypt, sealedOf } from './operations.ts'
import type { Session } from './session.ts'

const { judge } = createReporter('limits')

/** XKS 1.0.3, Encrypt and API operations. */
const MAX_PLAINTEXT_BYTES = 4300
const MAX_AAD_BYTES = 8192
const MAX_ARN_CHARACTERS = 2048

export async function checkLimits(session: Session, keyId: string): Promise<readonly Finding[]> {
  const { region } = session.remote.credential
  const usual = (operation: string) => requestMetadata(operation, region)
  const long = (operation: string) => ({ ...usual(operation), ...longArns(region) })
  const round = (check: string, what: string, plaintext: number, aad: number, metadata = usual) =>
    roundTrip(session, keyId, { check, what, plaintext, aad, metadata })
  return [
    await round('one-byte', 'a plaintext of one byte', 1, 0),
    await round('plaintext', 'a plaintext of 4,300 bytes', MAX_PLAINTEXT_BYTES, 0),
    await round('aad', 'AAD of 8,192 bytes', 32, MAX_AAD_BYTES),
    await round('arns', 'ARNs of 2,048 characters', 32, 32, long),
    await round('all', 'all of that at once', MAX_PLAINTEXT_BYTES, MAX_AAD_BYTES, long),
  ]
}

function longArns(region: string): RequestMetadata {
  const pad = (start: string) => start.padEnd(MAX_ARN_CHARACTERS, 'x')
  return {
    awsPrincipalArn: pad('arn:aws:sts::123456789012:assumed-role/'),
    kmsKeyArn: pad(`arn:aws:kms:${region}:123456789012:key/`),
  }
}

interface Sizes {
  readonly check: string
  readonly what: string
  readonly plaintext: number
  readonly aad: number
  readonly metadata: (operation: string) => RequestMetadata
}

async function roundTrip(session: Session, keyId: string, sizes: Sizes): Promise<Finding> {
  const plaintext = randomBytes(sizes.plaintext)
  const aad = sizes.aad === 0 ? undefined : randomBytes(sizes.aad)
  const input = { plaintext, cdiv: true, ...(aad === undefined ? {} : { aad }) }
  const encrypted = await encrypt(session, keyId, input, sizes.metadata('Encrypt'))
  const faults = [...faultsOfSuccess(encrypted).map((fault) => `Encrypt: ${fault}`)]
  const sealed = sealedOf(encrypted, aad)
  if (faults.length === 0 && sealed !== undefined) {
    const answer = await decrypt(session, keyId, sealed, sizes.metadata('Decrypt'))
    faults.push(...faultsOfSuccess(answer).map((fault) => `Decrypt: ${fault}`))
    const isSame = bytesOf(bodyOf(answer)['plaintext'])?.equals(plaintext) === true
    if (answer.status === 200 && !isSame) faults.push('Decrypt: other bytes came back')
  }
  return judge(
    `limit-${sizes.check}`,
    `${sizes.what}: there and back`,
    faults.map((fault) => `${sizes.what}: ${fault}`),
    'raise the limits of the proxy, and of what stands before it: XKS 1.0.3, Encrypt',
  )
}
