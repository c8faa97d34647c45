/** What a kill switch stops: which requests, in which direction. */
// SPDX-License-Identifier: Apache-2.0

/** Which of Encrypt and Decrypt a switch stops; `both` stops the two operations that only look as well. */
export type Direction = 'both' | 'decrypt' | 'encrypt'

/**
 * What requestMetadata must say, all of it. A field may have `*` and `?`, case counts, and a request
 * that lacks the field does not match (XKS 1.0.3: only awsPrincipalArn and kmsKeyArn are always there).
 */
export interface Criteria {
  /** Twelve digits: the account of the principal, or the one that owns the KMS key. */
  readonly account?: string
  /** awsPrincipalArn */
  readonly principal?: string
  /** kmsViaService, such as `ebs` */
  readonly viaService?: string
  /** awsSourceVpc, or awsSourceVpce where it starts with `vpce-` */
  readonly vpc?: string
}

export type Scope =
  | { readonly kind: 'all' }
  | { readonly kind: 'key-store'; readonly keyStore: string }
  | { readonly kind: 'key'; readonly keyStore: string; readonly keyId: string }
  /** Of one key store, or of every one. */
  | { readonly kind: 'match'; readonly keyStore?: string; readonly criteria: Criteria }

export function isSameScope(a: Scope, b: Scope): boolean {
  return describeScope(a) === describeScope(b)
}

/** One line, for people; two scopes have the same only when they are the same. */
export function describeScope(scope: Scope): string {
  switch (scope.kind) {
    case 'all':
      return 'all'
    case 'key-store':
      return `key store ${scope.keyStore}`
    case 'key':
      return `key ${scope.keyStore}/${scope.keyId}`
    case 'match': {
      const { account, principal, viaService, vpc } = scope.criteria
      const parts = Object.entries({ account, principal, viaService, vpc }).flatMap(
        ([name, value]) => (value === undefined ? [] : [`${name} ${JSON.stringify(value)}`]),
      )
      return `${parts.join(' and ')} in ${scope.keyStore ?? 'every key store'}`
    }
  }
}
