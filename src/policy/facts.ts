/** A request as policies see it, with facts derived from it. */
// SPDX-License-Identifier: Apache-2.0
import type { Operation, RequestMetadata } from '../core/request.ts'
import {
  type KmsKey,
  type Principal,
  type ViaService,
  accountOf,
  parseKmsKey,
  parsePrincipal,
  parseViaService,
} from './principal.ts'

/** Operations that policies allow or deny. */
export type KeyOperation = Exclude<Operation, 'GetHealthStatus'>

export interface PolicyRequest {
  readonly keyStore: string
  readonly keyId: string
  readonly operation: KeyOperation
  readonly metadata: Partial<RequestMetadata>
  /** Version that the key currently encrypts with. */
  readonly keyVersion: number
  /** Wall times in milliseconds since the Unix epoch. */
  readonly keyCreatedAt?: number | undefined
  readonly credential: { readonly id: string; readonly createdAt?: number | undefined }
  readonly now: number
  readonly tlsVersion?: string | undefined
  readonly clientName?: string | undefined
  readonly remoteAddress: string
  readonly aadBytes: number
  /** Size of the plaintext; for Decrypt, this is also the size of the ciphertext. */
  readonly plaintextBytes: number
}

export const ACTIONS = {
  Encrypt: 'Encrypt',
  Decrypt: 'Decrypt',
  GetKeyMetadata: 'Describe',
} as const satisfies Record<KeyOperation, string>

/** Facts about a request, each parsed at its first use. */
export class Facts {
  readonly request: PolicyRequest
  #principal: Principal | undefined
  #kmsKey: KmsKey | undefined
  #viaService: ViaService | undefined

  constructor(request: PolicyRequest) {
    this.request = request
  }

  get arn(): string {
    return this.request.metadata.awsPrincipalArn ?? ''
  }

  get account(): string | undefined {
    return accountOf(this.arn)
  }

  get principal(): Principal {
    return (this.#principal ??= parsePrincipal(this.arn))
  }

  get kmsKey(): KmsKey | undefined {
    const { kmsKeyArn } = this.request.metadata
    return kmsKeyArn === undefined ? undefined : (this.#kmsKey ??= parseKmsKey(kmsKeyArn))
  }

  get viaService(): ViaService | undefined {
    const { kmsViaService: text } = this.request.metadata
    return text === undefined ? undefined : (this.#viaService ??= parseViaService(text))
  }

  get tags(): Readonly<Record<string, string>> {
    const entries = Object.entries(this.request.metadata.other ?? {})
    return Object.fromEntries(
      entries.map(([name, value]) => [
        name,
        typeof value === 'string' ? value : JSON.stringify(value),
      ]),
    )
  }
}
