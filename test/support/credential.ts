/** Creates in-memory credentials, using the parsers that return branded ids. */
// SPDX-License-Identifier: Apache-2.0
import { parseAccessKeyId, parseKeyStoreName, type KeyStoreName } from '../../src/core/ids.ts'
import { Secret } from '../../src/core/secret.ts'
import type { Credential } from '../../src/sigv4/credential.ts'

export const ACCESS_KEY_ID = 'AAAAAAAAAAAAAAAAAAAAAAAAAA'
export const OTHER_ACCESS_KEY_ID = 'BBBBBBBBBBBBBBBBBBBBBBBBBB'
export const SECRET_ACCESS_KEY = 'FYtE5EFA5FT0mCc3DrGUe2sti527BitkQ0Zr9MO9fvE'

export interface CredentialOptions {
  readonly accessKeyId?: string
  readonly keyStore?: KeyStoreName
  readonly secret?: string
  readonly expiresAt?: number
}

export function storeName(text: string): KeyStoreName {
  const name = parseKeyStoreName(text)
  if (name === undefined) throw new TypeError(`no key store name: ${text}`)
  return name
}

export function makeCredential(options: CredentialOptions = {}): Credential {
  const id = options.accessKeyId ?? ACCESS_KEY_ID
  const accessKeyId = parseAccessKeyId(id)
  if (accessKeyId === undefined) throw new TypeError(`no access key id: ${id}`)
  return {
    accessKeyId,
    keyStore: options.keyStore ?? storeName('demo'),
    secretAccessKey: new Secret(options.secret ?? SECRET_ACCESS_KEY),
    ...(options.expiresAt === undefined ? {} : { expiresAt: options.expiresAt }),
  }
}
