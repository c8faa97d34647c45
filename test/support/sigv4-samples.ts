/** Generates random requests that look like those from KMS, and signs them with three signers. */
// SPDX-License-Identifier: Apache-2.0
import { Sha256 } from '@aws-crypto/sha256-js'
import { SignatureV4 } from '@smithy/signature-v4'
import aws4 from 'aws4'
import fc from 'fast-check'
import { parseAuthorization } from '../../src/sigv4/authorization-header.ts'
import { WireHeaders, canonicalRequest, stringToSign } from '../../src/sigv4/signed-headers.ts'
import { deriveSigningKey, sha256Hex } from '../../src/sigv4/signing-key.ts'
import type { SignedRequest } from '../../src/sigv4/verify.ts'
import { makeCredential } from './credential.ts'
import { FakeClock } from './fake-clock.ts'
import { type Verdict, verdictOn } from './sigv4-request.ts'
import { amzDate } from './wire.ts'

/** A random request. Neither third-party signer omits any of its headers or adds others. */
export interface Sample {
  readonly accessKeyId: string
  readonly secret: string
  readonly region: string
  readonly target: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
  /** Milliseconds since the Unix epoch. */
  readonly at: number
}

const from = (alphabet: string) => fc.constantFrom(...Array.from(alphabet))
const UPPER = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'
const LOWER = 'abcdefghijklmnopqrstuvwxyz'
const DIGITS = '0123456789'
const word = (alphabet: string, minLength: number, maxLength: number) =>
  fc.string({ unit: from(alphabet), minLength, maxLength })

const segment = word(`${UPPER}${LOWER}${DIGITS}._-`, 1, 40).filter((s) => s !== '.' && s !== '..')
const printable = fc.string({
  unit: fc.integer({ min: 0x20, max: 0x7e }).map(toChar),
  maxLength: 60,
})

export function toChar(code: number): string {
  return String.fromCharCode(code)
}

export const sample: fc.Arbitrary<Sample> = fc.record({
  accessKeyId: word(`${UPPER}234567`, 20, 30),
  secret: word(`${UPPER}${LOWER}${DIGITS}/+=`, 43, 64),
  region: fc.constantFrom('us-east-1', 'eu-west-1', 'us-gov-west-1', 'cn-north-1'),
  target: fc.array(segment, { minLength: 1, maxLength: 7 }).map((parts) => `/${parts.join('/')}`),
  headers: fc.dictionary(
    word(`${LOWER}${UPPER}${DIGITS}-`, 1, 20).map((name) => `X-Own-${name}`),
    // Omit empty values, because one signer drops them and the other sends them.
    printable.filter((value) => value.trim() !== ''),
    { maxKeys: 5 },
  ),
  body: fc.uint8Array({ minLength: 1, maxLength: 600 }).map((bytes) => Buffer.from(bytes)),
  at: fc
    .integer({ min: Date.UTC(2022, 10, 29) / 1000, max: Date.UTC(2099, 0, 1) / 1000 })
    .map((seconds) => seconds * 1000),
})

/** Adds the remaining headers of a KMS request, so that no signer adds its own. */
function headersOf({ headers, body, at }: Sample): Record<string, string> {
  const seen = new Set<string>()
  const own = Object.entries(headers).filter(([name]) => {
    const fresh = !seen.has(name.toLowerCase())
    seen.add(name.toLowerCase())
    return fresh
  })
  return {
    Host: 'localhost:8443',
    'Content-Type': 'application/json',
    'Content-Length': String(body.length),
    'X-Amz-Date': amzDate(at),
    ...Object.fromEntries(own),
  }
}

function toRequest(item: Sample, headers: Readonly<Record<string, unknown>>): SignedRequest {
  const rawHeaders = Object.entries(headers).flatMap(([name, value]) => [name, String(value)])
  return { method: 'POST', target: item.target, rawHeaders, body: item.body }
}

export function signByAws4(item: Sample): SignedRequest {
  const { headers } = aws4.sign(
    {
      method: 'POST',
      host: 'localhost:8443',
      path: item.target,
      service: 'kms-xks-proxy',
      region: item.region,
      headers: headersOf(item),
      body: item.body,
    },
    { accessKeyId: item.accessKeyId, secretAccessKey: item.secret },
  )
  return toRequest(item, headers ?? {})
}

export async function signBySmithy(item: Sample, applyChecksum: boolean): Promise<SignedRequest> {
  const signer = new SignatureV4({
    credentials: { accessKeyId: item.accessKeyId, secretAccessKey: item.secret },
    region: item.region,
    service: 'kms-xks-proxy',
    sha256: Sha256,
    applyChecksum,
  })
  const { headers } = await signer.sign(
    {
      method: 'POST',
      protocol: 'https:',
      hostname: 'localhost',
      path: item.target,
      headers: headersOf(item),
      body: item.body,
    },
    { signingDate: new Date(item.at) },
  )
  return toRequest(item, headers)
}

export function authorizationIn({ rawHeaders }: SignedRequest): string {
  const at = rawHeaders.findIndex((text, i) => i % 2 === 0 && /^authorization$/i.test(text))
  return rawHeaders[at + 1] ?? ''
}

export const signatureIn = (request: SignedRequest) => authorizationIn(request).slice(-64)

/** Signs with our own functions, covering the headers that the signer of `request` chose. */
export function signByUs(item: Sample, request: SignedRequest): string {
  const parsed = parseAuthorization(authorizationIn(request))
  if (parsed === undefined) throw new Error('our parser refuses it')
  const headers = new WireHeaders(request.rawHeaders)
  const canonical = canonicalRequest({
    method: 'POST',
    canonicalUri: item.target,
    canonicalQuery: '',
    headers: parsed.signedHeaders.map((name) => [name, headers.canonical(name) ?? '']),
    bodyHash: sha256Hex(item.body),
  })
  const text = stringToSign(amzDate(item.at), parsed.scope, canonical)
  const key = deriveSigningKey(
    makeCredential({ secret: item.secret }).secretAccessKey,
    parsed.scope,
  )
  return key.sign(text)
}

export function judge(item: Sample, request: SignedRequest): Verdict {
  const credential = makeCredential({ accessKeyId: item.accessKeyId, secret: item.secret })
  return verdictOn(request, {
    clock: new FakeClock(item.at),
    lookup: (id) => (id === credential.accessKeyId ? credential : undefined),
    regions: [item.region],
  })
}

export function assertAccepted(item: Sample, request: SignedRequest): void {
  const { caller, code } = judge(item, request)
  if (caller?.accessKeyId !== item.accessKeyId || caller.region !== item.region)
    throw new Error(`refused with ${String(code)}`)
}
