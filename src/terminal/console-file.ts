/** The JSON file for the AWS KMS console: path and credential of a key store. */
// SPDX-License-Identifier: Apache-2.0
import { Secret } from '../core/secret.ts'
import type { KeyStoreConfig } from '../config/config.ts'
import type { Credential } from '../sigv4/credential.ts'
import { API_ROOT } from '../xks/route.ts'
import { UsageError } from './command.ts'

export interface ConsoleFile {
  readonly XksProxyUriPath: string
  readonly XksProxyAuthenticationCredential: {
    readonly AccessKeyId: string
    readonly RawSecretAccessKey: string
  }
}

/** XKS 1.0.3, XKS proxy configuration in AWS KMS console. The text contains the secret. */
export function toConsoleFile(keyStore: KeyStoreConfig, credential: Credential): ConsoleFile {
  return {
    XksProxyUriPath: `${keyStore.prefix}${API_ROOT}`,
    XksProxyAuthenticationCredential: {
      AccessKeyId: credential.accessKeyId,
      RawSecretAccessKey: credential.secretAccessKey.reveal(),
    },
  }
}

/** @throws UsageError, whose message never contains the text */
export function parseConsoleFile(text: string): {
  readonly accessKeyId: string
  readonly secretAccessKey: Secret
} {
  let file: Partial<ConsoleFile> | null
  try {
    file = JSON.parse(text) as Partial<ConsoleFile> | null
  } catch {
    throw new UsageError('INPUT_INVALID', 'the file is not JSON')
  }
  const pair = file?.XksProxyAuthenticationCredential as Partial<
    ConsoleFile['XksProxyAuthenticationCredential']
  > | null
  if (typeof pair?.AccessKeyId !== 'string' || typeof pair.RawSecretAccessKey !== 'string') {
    throw new UsageError(
      'INPUT_INVALID',
      'the file lacks XksProxyAuthenticationCredential with AccessKeyId and RawSecretAccessKey',
    )
  }
  return { accessKeyId: pair.AccessKeyId, secretAccessKey: new Secret(pair.RawSecretAccessKey) }
}
