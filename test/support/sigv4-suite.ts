/** Loads the published cases from AWS's SigV4 test suite in test/vectors/sigv4. */
// SPDX-License-Identifier: Apache-2.0
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { read, ROOT } from './repository.ts'

const FOLDER = 'test/vectors/sigv4'
const FILES = [
  'context.json',
  'header-canonical-request.txt',
  'header-signature.txt',
  'header-signed-request.txt',
  'header-string-to-sign.txt',
  'request.txt',
]
const CONTEXT_FIELDS = new Set([
  'credentials',
  'expiration_in_seconds',
  'normalize',
  'omit_session_token',
  'region',
  'service',
  'sign_body',
  'timestamp',
])

export interface SuiteCase {
  readonly name: string
  readonly method: string
  /** Target in the signed request's request line. Values in `rawHeaders` may contain folded lines. */
  readonly target: string
  readonly rawHeaders: readonly string[]
  readonly body: Buffer
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly region: string
  readonly service: string
  /** Milliseconds since the Unix epoch. */
  readonly at: number
  readonly canonicalRequest: string
  readonly stringToSign: string
  readonly signature: string
}

interface Context {
  readonly credentials: {
    readonly access_key_id: string
    readonly secret_access_key: string
  }
  readonly region: string
  readonly service: string
  readonly timestamp: string
}

/** @throws for a file or field that this loader does not know */
export function loadSuite(): readonly SuiteCase[] {
  return readdirSync(join(ROOT, FOLDER)).sort().map(loadCase)
}

function loadCase(name: string): SuiteCase {
  const files = readdirSync(join(ROOT, FOLDER, name)).sort()
  if (files.join() !== FILES.join()) throw new Error(`${name} has the files ${files.join()}`)
  const text = (file: string) => read(`${FOLDER}/${name}/${file}`)
  const context = JSON.parse(text('context.json')) as Context
  for (const field of Object.keys(context)) {
    if (!CONTEXT_FIELDS.has(field)) throw new Error(`${name} has an unknown field ${field}`)
  }
  return {
    name,
    ...parseRequest(text('header-signed-request.txt')),
    accessKeyId: context.credentials.access_key_id,
    secretAccessKey: context.credentials.secret_access_key,
    region: context.region,
    service: context.service,
    at: Date.parse(context.timestamp),
    canonicalRequest: text('header-canonical-request.txt'),
    stringToSign: text('header-string-to-sign.txt'),
    signature: text('header-signature.txt'),
  }
}

function parseRequest(text: string) {
  const split = text.indexOf('\n\n')
  const [first = '', ...lines] = text
    .slice(0, split)
    .replaceAll(/\n(?=[ \t])/g, '\r')
    .split('\n')
  const rawHeaders = lines.flatMap((line) => {
    const colon = line.indexOf(':')
    return [line.slice(0, colon), line.slice(colon + 1).replaceAll('\r', '\n')]
  })
  const [method = ''] = first.split(' ', 1)
  return {
    method,
    target: first.slice(method.length + 1, -' HTTP/1.1'.length),
    rawHeaders,
    body: Buffer.from(text.slice(split + 2)),
  }
}
