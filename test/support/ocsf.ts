/** Validates exported entries against the schema in test/vectors/ocsf, and provides records of every kind to export. */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import type { RequestRecord } from '../../src/core/request.ts'
import { decryptRecord } from './audit.ts'
import { ROOT } from './repository.ts'

export const OCSF_SCHEMA = join(ROOT, 'test/vectors/ocsf/api-activity.json')

/** Returns a function that reports what is wrong with a line of the export, or undefined if the line is valid. */
export function ocsfValidator(): (line: string) => string | undefined {
  const ajv = new Ajv2020({ strict: false, allErrors: true })
  const validate = ajv.compile(JSON.parse(readFileSync(OCSF_SCHEMA, 'utf8')) as object)
  return (line) => (validate(JSON.parse(line)) ? undefined : ajv.errorsText(validate.errors))
}

/** Returns records with different sets of fields. */
export function recordsOfEveryKind(): readonly RequestRecord[] {
  const decrypt = decryptRecord('id')
  const { metadata } = decrypt
  if (metadata === undefined) throw new TypeError('the record has no metadata')
  const bare: RequestRecord = {
    ...{ at: decrypt.at, remoteAddress: '2001:db8::1', httpVersion: '1.1', method: 'POST' },
    ...{ target: '/', bodyBytes: 0, stages: [] },
  }
  return [
    decrypt,
    { ...decrypt, operation: 'Encrypt', sealedSha256: '00'.repeat(32), gateEpoch: 7 },
    { ...decrypt, operation: 'GetKeyMetadata', keyVersion: undefined },
    { ...decrypt, operation: 'GetHealthStatus', keyId: undefined, metadata: undefined },
    { ...decrypt, status: 403, errorName: 'AccessDeniedException', reason: 'POLICY_DENIED' },
    { ...decrypt, status: 500, errorName: 'InternalException', reason: 'TIMEOUT' },
    { ...decrypt, policies: ['a', 'b'], policyRevision: 3, accessClass: 'customer-direct' },
    { ...decrypt, metadata: { kmsOperation: 'Decrypt', kmsRequestId: 'id' } },
    { ...decrypt, metadata: { ...metadata, awsPrincipalArn: 'AWS Internal' } },
    {
      ...decrypt,
      metadata: {
        ...{ ...metadata, awsSourceVpc: 'vpc-123', awsSourceVpce: 'vpce-1' },
        ...{ kmsViaService: 's3', other: { sourceIdentity: 'Alice', count: 1 } },
      },
    },
    { ...bare, status: 401, errorName: 'AuthenticationFailedException', bodySha256: '00' },
    { ...bare, status: 400, errorName: 'ValidationException', region: '' },
    bare,
  ]
}
