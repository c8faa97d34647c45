/** One byte form of a JSON value, so that a signature over it can be checked by anybody. */
// SPDX-License-Identifier: Apache-2.0

export type Json =
  string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json | undefined }

/**
 * RFC 8785: no white space, members sorted by the UTF-16 units of their names, numbers and strings as
 * JSON.stringify writes them. Members that are undefined are left out.
 * @throws TypeError for a number that JSON does not have
 */
export function toCanonicalJson(value: Json): string {
  if (typeof value === 'number' && !Number.isFinite(value)) throw new TypeError('not a JSON number')
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  if (isList(value)) return `[${value.map(toCanonicalJson).join(',')}]`
  const members = Object.keys(value)
    .sort()
    .flatMap((name) => {
      const member = value[name]
      return member === undefined ? [] : [`${JSON.stringify(name)}:${toCanonicalJson(member)}`]
    })
  return `{${members.join(',')}}`
}

/** Array.isArray does not narrow a readonly array. */
function isList(value: object): value is readonly Json[] {
  return Array.isArray(value)
}
