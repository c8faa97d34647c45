/** Builds requests as policies see them, and policy sets from source text. */
// SPDX-License-Identifier: Apache-2.0
import { type PolicySet, checkDocuments } from '../../src/policy/policy-set.ts'
import type { PolicyRequest } from '../../src/policy/facts.ts'

export const ACCOUNT = '111122223333'
export const KMS_KEY = `arn:aws:kms:eu-west-1:${ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab`
export const ALICE = `arn:aws:iam::${ACCOUNT}:user/alice`
/** Noon on a Monday. */
export const NOON = Date.UTC(2027, 2, 1, 12)

type Metadata = PolicyRequest['metadata']

/** Returns a Decrypt request by the user alice with the key payroll/key-1. `over` replaces fields. */
export function policyRequest(
  over: Partial<Omit<PolicyRequest, 'metadata'>> & Metadata = {},
): PolicyRequest {
  const { awsPrincipalArn = ALICE, kmsKeyArn = KMS_KEY, kmsOperation = 'Decrypt' } = over
  const { awsSourceVpc, awsSourceVpce, kmsViaService, other, ...rest } = over
  const optional = { awsSourceVpc, awsSourceVpce, kmsViaService, other }
  const given = Object.entries(optional).filter(([, value]) => value !== undefined)
  return {
    keyStore: 'payroll',
    keyId: 'key-1',
    operation: 'Decrypt',
    metadata: { awsPrincipalArn, kmsKeyArn, kmsOperation, ...Object.fromEntries(given) },
    keyVersion: 1,
    credential: { id: 'AKIATEST', createdAt: NOON - 86_400_000 },
    now: NOON,
    tlsVersion: 'TLSv1.3',
    remoteAddress: '10.1.2.3',
    aadBytes: 16,
    plaintextBytes: 32,
    ...rest,
  }
}

/**
 * Builds a policy set and validates it against the schema.
 * @param documents the contents of one document, or of several by name
 */
export function policySet(
  documents: string | Readonly<Record<string, string>>,
): Promise<PolicySet> {
  const texts = typeof documents === 'string' ? { test: documents } : documents
  return checkDocuments(new Map(Object.entries(texts)))
}
