/** Lists phrases that make prose read like a translation, each with the reason or a better word. */
// SPDX-License-Identifier: Apache-2.0

export interface Telltale {
  readonly form: RegExp
  readonly reason: string
}

/** Phrases to avoid in comments, which must be sentences. */
export const IN_COMMENTS: readonly Telltale[] = [
  {
    form: /^(?:What|Whose|Whoever|Of|By whom|From whom)\b/,
    reason: 'a fragment; begin with the thing described, or with a verb such as "Returns"',
  },
  { form: /\b(?:some|no|every|any)body\b/i, reason: 'name who: no caller, another process' },
]

/** Phrases to avoid in comments and documents. */
export const EVERYWHERE: readonly Telltale[] = [
  { form: /\bwhoever\b/i, reason: 'name who: the caller, the instance, an attacker' },
  { form: /\banew\b/i, reason: 'again' },
  { form: /\bin the place of\b/i, reason: 'instead of, or replaces' },
  { form: /\ball the same\b/i, reason: 'still, or anyway' },
  { form: /\bfor good\b/i, reason: 'permanently' },
  { form: /\bfor ever\b/i, reason: 'permanently, or unlimited' },
  { form: /\b(?:go|goes|going|went|gone) on\b/i, reason: 'continue' },
  {
    form: /\b(?:take|takes|taken|took|taking) up\b(?! to\b)(?! (?:room|space))/i,
    reason: 'load, apply, or resume',
  },
  { form: /\bputs? back\b|\bputting back\b/i, reason: 'restore' },
  { form: /\bunder way\b/i, reason: 'in progress' },
  { form: /\bleft away\b/i, reason: 'omitted' },
  { form: /\bbut for\b/i, reason: 'except' },
  { form: /\bis said\b|\bare said\b/i, reason: 'say who reports it, and where' },
  { form: /\b(?:says?|tells?) of\b/i, reason: 'reports about' },
  { form: /\bmuch else to do\b/i, reason: 'busy' },
  { form: /\bset(?:s|ting)? aside\b/i, reason: 'reserve' },
]

/** Returns `phrase: reason` for each listed phrase in `text`. */
export function findTelltales(text: string, list: readonly Telltale[]): readonly string[] {
  return list.flatMap(({ form, reason }) => {
    const [found] = form.exec(text) ?? []
    return found === undefined ? [] : [`"${found}": ${reason}`]
  })
}
