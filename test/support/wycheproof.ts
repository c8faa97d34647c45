/**
 * Loads the AES-GCM cases from Project Wycheproof that are relevant to an XKS proxy; see
 * test/vectors/aes-gcm/README.md.
 */
// SPDX-License-Identifier: Apache-2.0
import { read } from './repository.ts'

export interface GcmCase {
  readonly id: number
  /** Description of the case, for the test name. */
  readonly label: string
  readonly key: Buffer
  readonly iv: Buffer
  readonly aad: Buffer
  readonly plaintext: Buffer
  readonly ciphertext: Buffer
  readonly tag: Buffer
  readonly isValid: boolean
}

type Json = Record<string, unknown>

const GROUP_FIELDS = ['ivSize', 'keySize', 'source', 'tagSize', 'tests', 'type']
const CASE_FIELDS = [
  ...['aad', 'comment', 'ct', 'flags', 'iv', 'key', 'msg', 'result', 'tag', 'tcId'],
]
const FILE_FIELDS = [...['algorithm', 'header', 'notes', 'numberOfTests', 'schema', 'testGroups']]

/** Rejects unknown fields, which could change a case's meaning. */
function checkFields(object: Json, fields: readonly string[]): void {
  const found = Object.keys(object).sort()
  if (found.join() !== fields.join()) throw new TypeError(`unknown form: ${found.join()}`)
}

function bytes(object: Json, name: string): Buffer {
  const text = object[name]
  if (typeof text !== 'string' || !/^(?:[0-9a-f]{2})*$/.test(text))
    throw new TypeError(`${name} is not hexadecimal`)
  return Buffer.from(text, 'hex')
}

function parseCase(one: Json): GcmCase {
  checkFields(one, CASE_FIELDS)
  const { tcId, comment, flags, result } = one
  if (result !== 'valid' && result !== 'invalid') throw new TypeError('unknown result')
  const label = [comment, ...(flags as string[])].filter((text) => text !== '').join(', ')
  return {
    id: Number(tcId),
    label: `case ${String(tcId)}: ${label}`,
    key: bytes(one, 'key'),
    iv: bytes(one, 'iv'),
    aad: bytes(one, 'aad'),
    plaintext: bytes(one, 'msg'),
    ciphertext: bytes(one, 'ct'),
    tag: bytes(one, 'tag'),
    isValid: result === 'valid',
  }
}

/** Returns a Wycheproof file's cases with 256-bit keys, 96-bit or 128-bit IVs, and 128-bit tags. */
export function parseGcmCases(text: string): readonly GcmCase[] {
  const file = JSON.parse(text) as Json
  checkFields(file, FILE_FIELDS)
  const groups = file['testGroups'] as Json[]
  const cases = groups.flatMap((group) => {
    checkFields(group, GROUP_FIELDS)
    const parsed = (group['tests'] as Json[]).map(parseCase)
    const { keySize, ivSize, tagSize } = group
    return parsed.map((one) => ({ one, keySize, ivSize, tagSize }))
  })
  if (cases.length !== file['numberOfTests']) throw new TypeError('cases are missing')
  return cases
    .filter(({ keySize, tagSize }) => keySize === 256 && tagSize === 128)
    .filter(({ ivSize }) => ivSize === 96 || ivSize === 128)
    .map(({ one }) => one)
}

/** @throws if the file contains fewer test vectors than expected */
export function loadGcmCases(): readonly GcmCase[] {
  const cases = parseGcmCases(read('test/vectors/aes-gcm/aes_gcm_test.json'))
  const invalid = cases.filter(({ isValid }) => !isValid)
  if (cases.length < 85 || invalid.length < 27) throw new TypeError('cases are missing')
  return cases
}
