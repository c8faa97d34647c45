/** Calls the four operations as KMS does and checks every field of the responses. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { PROBE_ID_PREFIX, probeAad } from '../../core/probe.ts'
import type { WireAnswer } from '../../kms/client/connection.ts'
import {
  type DecryptArguments,
  type EncryptArguments,
  type RequestMetadata,
  decryptBody,
  encryptBody,
  probeHealthBody,
  getKeyMetadataBody,
  probeMetadata,
} from '../../kms/client/requests.ts'
import { computeCdiv } from '../../xks/wire-bytes.ts'
import { type Json, bodyOf, bytesOf, faultsOfSuccess } from './answers.ts'
import { type Finding, createReporter, quoted } from './finding.ts'
import type { Session } from './session.ts'

const { ok, warn, fail, judge } = createReporter('api')
const MEND = "compare the response with the specification, and check the proxy's log"
const NO_BYTES = Buffer.alloc(0)

export async function checkHealth(session: Session): Promise<readonly Finding[]> {
  const answer = await session.ask({ path: '/health', body: probeHealthBody() })
  const faults = faultsOfSuccess(answer)
  if (faults.length > 0) {
    const hint =
      answer.status === 401
        ? 'check that the credential belongs to this key store, and that the clocks agree'
        : 'KMS creates and connects a key store only after this call succeeds'
    return [fail('health', faults.join('; '), hint)]
  }
  const health = bodyOf(answer)
  const managers = Array.isArray(health['ekmFleetDetails'])
    ? (health['ekmFleetDetails'] as readonly Json[])
    : []
  const shape = judge('health', describeHealth(health), faultsOfHealth(health, managers), MEND)
  return [shape, ...checkManagers(managers)]
}

function describeHealth(health: Json): string {
  const { xksProxyVendor: vendor, xksProxyModel: model, xksProxyFleetSize: size } = health
  return `GetHealthStatus: ${quoted(String(model), 60)} by ${quoted(String(vendor), 60)}, fleet size ${String(size)}`
}

function faultsOfHealth(health: Json, managers: readonly Json[]): readonly string[] {
  const size = health['xksProxyFleetSize']
  return [
    ...(Number.isInteger(size) && Number(size) > 0
      ? []
      : ['xksProxyFleetSize is not an integer greater than zero']),
    ...['xksProxyVendor', 'xksProxyModel', 'ekmVendor']
      .filter((name) => typeof health[name] !== 'string' || health[name] === '')
      .map((name) => `${name} is missing`),
    ...(managers.length >= 1 && managers.length <= 10
      ? []
      : [`expected one to ten entries in ekmFleetDetails, found ${String(managers.length)}`]),
    ...managers.flatMap((manager, i) =>
      ['id', 'model', 'healthStatus']
        .filter((name) => typeof manager[name] !== 'string')
        .map((name) => `ekmFleetDetails[${String(i)}].${name} is missing`),
    ),
  ]
}

function checkManagers(managers: readonly Json[]): readonly Finding[] {
  if (managers.length === 0) return []
  const states = managers.map((manager) => String(manager['healthStatus']))
  const list = quoted(states.join(', '))
  const isKnown = states.every((state) => ['ACTIVE', 'DEGRADED', 'UNAVAILABLE'].includes(state))
  if (!isKnown) return [fail('key-managers', `healthStatus is ${list}`, MEND)]
  if (states.every((state) => state === 'UNAVAILABLE')) {
    return [
      fail(
        'key-managers',
        'all key managers are UNAVAILABLE',
        'KMS does not create or connect a key store in this state',
      ),
    ]
  }
  return states.every((state) => state === 'ACTIVE')
    ? [ok('key-managers', `${String(states.length)} key manager(s), ACTIVE`)]
    : [warn('key-managers', `key managers are ${list}`, "check the key manager's own log")]
}

export async function checkKey(session: Session, keyId: string): Promise<readonly Finding[]> {
  return [
    await checkMetadata(session, keyId),
    ...(await checkEncryption(session, keyId)),
    await checkUnknownFields(session, keyId),
  ]
}

/** Checks the fields that CreateKey requires (XKS 1.0.3, GetKeyMetadata, KMS Considerations). */
async function checkMetadata(session: Session, keyId: string): Promise<Finding> {
  const answer = await session.ask({
    path: `/keys/${keyId}/metadata`,
    body: getKeyMetadataBody(probeMetadata('CreateKey', session.remote.credential.region)),
  })
  const { keySpec, keyUsage, keyStatus } = bodyOf(answer)
  const usages: readonly unknown[] = Array.isArray(keyUsage) ? keyUsage : []
  const faults = [
    ...faultsOfSuccess(answer),
    ...(keySpec === 'AES_256'
      ? []
      : [`expected the keySpec AES_256, found ${quoted(String(keySpec))}`]),
    ...(usages.includes('ENCRYPT') && usages.includes('DECRYPT')
      ? []
      : ['keyUsage lacks ENCRYPT or DECRYPT']),
    ...(usages.length > 10
      ? [`expected at most ten values in keyUsage, found ${String(usages.length)}`]
      : []),
    ...(keyStatus === 'ENABLED'
      ? []
      : [`expected the keyStatus ENABLED, found ${quoted(String(keyStatus))}`]),
  ]
  return judge(
    'key-metadata',
    'GetKeyMetadata: AES_256, ENCRYPT and DECRYPT, ENABLED',
    answer.status === 200 ? faults : faultsOfSuccess(answer),
    'KMS does not create a KMS key for an external key with these properties',
  )
}

export async function encrypt(
  session: Session,
  keyId: string,
  input: EncryptArguments,
  metadata: RequestMetadata = probeMetadata('GenerateDataKey', session.remote.credential.region),
): Promise<WireAnswer> {
  return session.ask({ path: `/keys/${keyId}/encrypt`, body: encryptBody(metadata, input) })
}

export async function decrypt(
  session: Session,
  keyId: string,
  input: DecryptArguments,
  metadata: RequestMetadata = probeMetadata('Decrypt', session.remote.credential.region),
): Promise<WireAnswer> {
  return session.ask({ path: `/keys/${keyId}/decrypt`, body: decryptBody(metadata, input) })
}

/** Builds the Decrypt request for an Encrypt response; undefined when a field is missing or not Base64. */
export function sealedOf(answer: WireAnswer, aad?: Buffer): DecryptArguments | undefined {
  const body = bodyOf(answer)
  const ciphertext = bytesOf(body['ciphertext'])
  const initializationVector = bytesOf(body['initializationVector'])
  const authenticationTag = bytesOf(body['authenticationTag'])
  const ciphertextMetadata = bytesOf(body['ciphertextMetadata'])
  if (ciphertext === undefined) return undefined
  if (initializationVector === undefined || authenticationTag === undefined) return undefined
  return {
    ciphertext,
    initializationVector,
    authenticationTag,
    ...(ciphertextMetadata === undefined ? {} : { ciphertextMetadata }),
    ...(aad === undefined ? {} : { aad }),
  }
}

async function checkEncryption(session: Session, keyId: string): Promise<readonly Finding[]> {
  const plaintext = randomBytes(32)
  const aad = probeAad(48)
  const first = await encrypt(session, keyId, { plaintext, aad, cdiv: true })
  const second = await encrypt(session, keyId, { plaintext, aad })
  const sealed = sealedOf(first, aad)
  const faults = faultsOfSuccess(first)
  if (sealed === undefined || faults.length > 0) {
    const missing = 'ciphertext, initializationVector or authenticationTag is missing or not Base64'
    return [fail('encrypt', faults.length > 0 ? faults.join('; ') : missing, MEND)]
  }
  return [
    judge(
      'encrypt',
      'Encrypt: ciphertext, IV, tag and metadata have valid lengths',
      faultsOfSealed(sealed),
      MEND,
    ),
    judgeCdiv(first, sealed),
    judge(
      'encrypt-anew',
      'encrypting the same plaintext twice yields different ciphertexts',
      bodyOf(first)['initializationVector'] === bodyOf(second)['initializationVector']
        ? ['two encryptions have the same IV, which breaks AES-GCM']
        : [],
      'the key manager must use a new IV for each encryption; stop using this one',
    ),
    await checkDecryption(session, keyId, sealed, plaintext),
  ]
}

function faultsOfSealed(sealed: DecryptArguments): readonly string[] {
  const { ciphertext, initializationVector: iv, authenticationTag: tag } = sealed
  const metadata = sealed.ciphertextMetadata ?? NO_BYTES
  return [
    ...(ciphertext.length === 32
      ? []
      : [`expected a ciphertext of 32 bytes, found ${String(ciphertext.length)}`]),
    ...([12, 16].includes(iv.length)
      ? []
      : [`expected an IV of 12 or 16 bytes, found ${String(iv.length)}`]),
    ...(tag.length === 16 ? [] : [`expected a tag of 16 bytes, found ${String(tag.length)}`]),
    ...(metadata.length <= 20
      ? []
      : [`expected ciphertextMetadata of at most 20 bytes, found ${String(metadata.length)}`]),
  ]
}

/**
 * Checks the CDIV, because KMS also computes it and compares the two values (XKS 1.0.3, Appendix
 * C).
 */
function judgeCdiv(answer: WireAnswer, sealed: DecryptArguments): Finding {
  const expected = computeCdiv({
    aad: sealed.aad ?? NO_BYTES,
    metadata: sealed.ciphertextMetadata ?? NO_BYTES,
    iv: sealed.initializationVector,
    ciphertext: sealed.ciphertext,
    tag: sealed.authenticationTag,
  }).toString('base64')
  const given = bodyOf(answer)['ciphertextDataIntegrityValue']
  const faults =
    given === undefined
      ? ['ciphertextDataIntegrityValue is missing although it was requested']
      : given === expected
        ? []
        : ['the ciphertextDataIntegrityValue is wrong']
  return judge('cdiv', 'the data integrity value is correct', faults, 'see XKS 1.0.3, Appendix C')
}

async function checkDecryption(
  session: Session,
  keyId: string,
  sealed: DecryptArguments,
  plaintext: Buffer,
): Promise<Finding> {
  const answer = await decrypt(session, keyId, sealed)
  const isSame = bytesOf(bodyOf(answer)['plaintext'])?.equals(plaintext) === true
  const faults = [
    ...faultsOfSuccess(answer),
    ...(answer.status === 200 && !isSame ? ['the decrypted bytes differ from the plaintext'] : []),
  ]
  return judge('decrypt', 'Decrypt returned the same 32 bytes', faults, MEND)
}

/**
 * Checks that the proxy accepts any kmsRequestId, unknown kmsOperation values and additional fields
 * (XKS 1.0.3).
 */
async function checkUnknownFields(session: Session, keyId: string): Promise<Finding> {
  const answer = await encrypt(
    session,
    keyId,
    { plaintext: randomBytes(32) },
    {
      ...probeMetadata('BulkEncrypt', session.remote.credential.region),
      kmsRequestId: `${PROBE_ID_PREFIX}, not a UUID / but opaque`,
      kmsKeyArn: 'arn:aws:kms:us-east-2:123456789012:/key/1234abcd-12ab-34cd-56ef-1234567890ab',
      awsPrincipalArn: 'AWS Internal',
      kmsViaService: 'ebs',
      aFieldOfTomorrow: { nested: true },
    },
  )
  return judge(
    'unknown-metadata',
    'new values of kmsOperation and kmsRequestId, and unknown fields, are accepted',
    faultsOfSuccess(answer),
    'KMS may send them in the future (see XKS 1.0.3, requestMetadata and Appendix B)',
  )
}
