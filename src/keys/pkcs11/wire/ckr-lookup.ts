/** What a CKR_* becomes, and what is done about it. */
// SPDX-License-Identifier: Apache-2.0
import { CKR_GROUPS, type CkrTreatment } from './ckr.ts'

export interface CkrRow extends CkrTreatment {
  readonly name: string
  readonly code: number
}

/** By code. */
export const CKR: ReadonlyMap<number, CkrRow> = new Map(
  CKR_GROUPS.flatMap(({ codes, ...rest }) =>
    Object.entries(codes).map(([name, code]) => [code, { name, code, ...rest }] as const),
  ),
)

const VENDOR_DEFINED = 0x8000_0000

/** Of a code that is not in the table, a vendor's own: that of CKR_VENDOR_DEFINED, with its number. */
export function toCkrRow(code: number): CkrRow {
  const row = CKR.get(code) ?? CKR.get(VENDOR_DEFINED)
  if (row === undefined) throw new TypeError('CKR_VENDOR_DEFINED is not in the table')
  return row.code === code ? row : { ...row, code, name: `CKR_0x${code.toString(16)}` }
}
