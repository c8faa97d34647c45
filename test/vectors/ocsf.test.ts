/** Validates the OCSF export with the published schema. test/by-hand/audit-ocsf.ts does so with another validator. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { toLine } from '../../src/audit/reader/formats.ts'
import { decodeEntry } from '../../src/audit/record.ts'
import { encodeRequest } from '../../src/audit/request-entry.ts'
import { ocsfValidator, recordsOfEveryKind } from '../support/ocsf.ts'

const findFault = ocsfValidator()

function exportLines(hashPrincipal?: (arn: string) => string): readonly string[] {
  return recordsOfEveryKind().map((record, seq) => {
    const entry = decodeEntry(Buffer.from(encodeRequest(record, { seq, lost: 0 }, hashPrincipal)))
    if (entry === undefined) throw new TypeError('no entry')
    return toLine('ocsf', entry, 'latchkey/log', '1.0.0')
  })
}

void t.test('every exported line is a valid API Activity', (t) => {
  for (const line of exportLines()) t.equal(findFault(line), undefined, line)
  for (const line of exportLines(() => '0a'.repeat(32))) t.equal(findFault(line), undefined, line)
  t.end()
})

void t.test('the schema refuses a line without a required member, or with an unknown one', (t) => {
  const [line = ''] = exportLines()
  const event = JSON.parse(line) as Record<string, unknown>
  for (const name of ['time', 'api', 'actor', 'cloud', 'metadata', 'src_endpoint', 'type_uid']) {
    t.match(findFault(JSON.stringify({ ...event, [name]: undefined })), name)
  }
  t.match(findFault(JSON.stringify({ ...event, invented: 1 })), 'additional')
  t.match(findFault(JSON.stringify({ ...event, class_uid: 6001 })), 'class_uid')
  t.end()
})
