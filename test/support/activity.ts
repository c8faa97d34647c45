/** Builds finished requests in the form that the usage recorder receives. */
// SPDX-License-Identifier: Apache-2.0
import type { CountedRequest } from '../../src/usage/usage-key.ts'

type Metadata = NonNullable<CountedRequest['metadata']>

export const ALICE = 'arn:aws:iam::111122223333:user/Alice'

/** Returns a successful Decrypt with `key-1` by Alice. `more` replaces fields. */
export function finished(
  at: number,
  more: Omit<Partial<CountedRequest>, 'metadata'> & { readonly metadata?: Partial<Metadata> } = {},
): CountedRequest {
  return {
    keyStore: 'demo',
    operation: 'Decrypt',
    keyId: 'key-1',
    accessKeyId: 'AKIAEXAMPLEEXAMPLEEXAMPLE2',
    ...more,
    at,
    metadata: { kmsOperation: 'Decrypt', awsPrincipalArn: ALICE, ...more.metadata },
  }
}
