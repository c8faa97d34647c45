/** The scope of a kill switch: which requests it stops, and in which direction. */
// SPDX-License-Identifier: Apache-2.0

/** The operations that a switch stops. `both` also stops GetHealthStatus and GetKeyMetadata. */
export type Direction = 'both' | 'decrypt' | 'encrypt'

/**
 * Conditions on requestMetadata, which must all match. Values may contain `*` and `?`, and case
 * matters. A request that lacks a field does not match (XKS 1.0.3: only awsPrincipalArn and
 * kmsKeyArn are always present).
 */
export interface Criteria {
  /** Account of the principal, or account that owns the KMS key: twelve digits. */
  readonly account?: string
  /** Matches awsPrincipalArn. */
  readonly principal?: string
  /** Matches kmsViaService, such as `ebs`. */
  readonly viaService?: string
  /** Matches awsSourceVpc, or awsSourceVpce if it starts with `vpce-`. */
  readonly vpc?: string
}

export type Scope =
  | { readonly kind: 'all' }
  | { readonly kind: 'key-store'; readonly keyStore: string }
  | { readonly kind: 'key'; readonly keyStore: string; readonly keyId: string }
  /** Applies to one key store, or to all of them if `keyStore` is absent. */
  | { readonly kind: 'match'; readonly keyStore?: string; readonly criteria: Criteria }

export function isSameScope(a: Scope, b: Scope): boolean {
  return describeScope(a) === describeScope(b)
}

/**
 * Describes a scope in one line for people. Two scopes have the same description only if they are
 * equal.
 */
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
