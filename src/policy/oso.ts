/**
 * Translates Polar policies of AWS's sample proxy to Cedar, except for parts that it cannot
 * translate.
 */
// SPDX-License-Identifier: Apache-2.0

export interface OsoImport {
  /** The translated policies; empty if no rule was understood. */
  readonly cedar: string
  /**
   * Parts that were not translated, and refusals that the author of the rules may not have
   * intended.
   */
  readonly findings: readonly OsoFinding[]
}

export interface OsoFinding {
  /** 1-based line number; 0 for the file as a whole. */
  readonly line: number
  readonly message: string
}

interface Rule {
  readonly line: number
  readonly operation: string
  readonly body: string
}

const ACTION_OF: Readonly<Record<string, string>> = {
  encrypt: 'Encrypt',
  decrypt: 'Decrypt',
  metadata: 'Describe',
}

/** KMS operations that cause each proxy operation (XKS 1.0.3, requestMetadata). */
const KMS_OPERATIONS: Readonly<Record<string, readonly string[]>> = {
  encrypt: ['Encrypt', 'GenerateDataKey', 'GenerateDataKeyWithoutPlaintext', 'ReEncrypt'],
  decrypt: ['Decrypt', 'ReEncrypt'],
  metadata: ['CreateKey', 'DescribeKey'],
}

const WHAT_FAILS: Readonly<Record<string, string>> = {
  GenerateDataKey: 'S3, EBS and every service that creates data keys are refused',
  GenerateDataKeyWithoutPlaintext: 'services that create data keys in advance are refused',
  ReEncrypt: 're-encrypting to or from the key is refused',
  CreateKey: 'no KMS key can be created for an external key',
  DescribeKey: 'KMS keys cannot be described',
  Decrypt: 'nothing can be decrypted',
  Encrypt: 'nothing can be encrypted directly',
}

const RULE =
  /allow\s*\(\s*([\w$]+)(?:\s*:\s*\w+)?\s*,\s*"(\w+)"\s*,\s*(\w+)(?:\s*:\s*\w+)?\s*\)\s*(?:if\b([\s\S]*?))?;/g

/** @param text contents of a file such as oso.polar */
export function importOso(text: string): OsoImport {
  const findings: OsoFinding[] = []
  // Comments are replaced by spaces, so that line numbers are preserved.
  const plain = text.replace(/#[^\n]*/g, '')
  const lineAt = (index: number) => plain.slice(0, index).split('\n').length
  const policies: string[] = []
  let rest = plain
  for (const match of plain.matchAll(RULE)) {
    const [whole, prefix = '', operation = '', metadata = '', body = ''] = match
    rest = rest.replace(whole, whole.replace(/\S/g, ' '))
    const rule = { line: lineAt(match.index), operation, body }
    const policy = translate(rule, { prefix, metadata }, findings)
    if (policy !== undefined) policies.push(policy)
  }
  for (const [i, line] of rest.split('\n').entries()) {
    if (line.trim() !== '') {
      findings.push({ line: i + 1, message: `cannot translate: ${line.trim().slice(0, 80)}` })
    }
  }
  if (policies.length === 0) findings.push({ line: 0, message: 'no rule could be translated' })
  return { cedar: policies.join('\n'), findings: findings.sort((a, b) => a.line - b.line) }
}

function translate(
  { line, operation, body }: Rule,
  names: { readonly prefix: string; readonly metadata: string },
  findings: OsoFinding[],
): string | undefined {
  const note = (message: string) => {
    findings.push({ line, message })
  }
  if (operation === 'health') {
    note('policies never refuse health checks, so the rule is omitted')
    return undefined
  }
  const action = ACTION_OF[operation]
  if (action === undefined) {
    note(`XKS has no operation "${operation}"`)
    return undefined
  }
  const conditions = splitAnd(body).map((part) => toCondition(part, names, note))
  if (conditions.includes(undefined)) {
    note(
      'the rule is omitted: without the condition that cannot be translated, it would permit too much',
    )
    return undefined
  }
  checkOperations(operation, body, names.metadata, note)
  const held = conditions.filter((one) => one !== '')
  const when = held.length === 0 ? '' : `\nwhen {\n  ${held.join(' &&\n  ')}\n}`
  return `@id("oso-${operation}-line-${String(line)}")
permit (principal, action == XKS::Action::"${action}", resource)${when};
`
}

type Note = (message: string) => void

/** Warns about common KMS operations that the rule omits. */
function checkOperations(operation: string, body: string, metadata: string, note: Note): void {
  const field = `${metadata}\\.kmsOperation`
  const one = new RegExp(`${field}\\s*(?:=|==)\\s*("[^"]*")`).exec(body)?.[1]
  const several = new RegExp(`${field}\\s+in\\s+\\[([^\\]]*)\\]`).exec(body)?.[1]
  const listed = (one ?? several)?.match(/"[^"]*"/g)?.map((text) => text.slice(1, -1))
  if (listed === undefined) return
  const known = KMS_OPERATIONS[operation] ?? []
  for (const missing of known.filter((name) => !listed.includes(name)))
    note(`kmsOperation ${missing} is not listed: ${WHAT_FAILS[missing] ?? ''}`)
  for (const other of listed.filter((name) => !known.includes(name)))
    note(`KMS never sends kmsOperation ${other} with "${operation}"`)
}

/** Splits a body at `and`, outside of parentheses, lists and strings. */
function splitAnd(body: string): readonly string[] {
  return splitAt(body, 'and')
}

function splitAt(body: string, word: string): readonly string[] {
  const tokens = body.match(/"(?:[^"\\]|\\.)*"|[()[\],]|[^\s()[\],"]+/g) ?? []
  const parts: string[][] = [[]]
  let depth = 0
  for (const token of tokens) {
    if (token === '(' || token === '[') depth += 1
    if (token === ')' || token === ']') depth -= 1
    if (depth === 0 && token === word) parts.push([])
    else parts.at(-1)?.push(token)
  }
  return parts.map((part) => part.join(' ')).filter((part) => part !== '')
}

/** Maps each field of the sample's metadata to its Cedar expression, and to the `has` test that an optional field needs first. */
const FIELDS: Readonly<Record<string, { readonly value: string; readonly has?: string }>> = {
  awsPrincipalArn: { value: 'principal.arn' },
  kmsOperation: { value: 'context.kmsOperation' },
  kmsKeyArn: { value: 'context.kmsKey.arn', has: 'context has kmsKey' },
  kmsViaService: { value: 'context.viaService.name', has: 'context has viaService' },
  awsSourceVpc: { value: 'context.sourceVpc', has: 'context has sourceVpc' },
  awsSourceVpce: { value: 'context.sourceVpce', has: 'context has sourceVpce' },
}

/**
 * Returns an empty string for a condition that always holds, and undefined for a condition that was
 * not understood.
 */
function toCondition(
  part: string,
  names: { readonly prefix: string; readonly metadata: string },
  note: Note,
): string | undefined {
  const inner = /^\( (.*) \)$/.exec(part)?.[1]
  if (inner !== undefined) {
    const alternatives = splitAt(inner, 'or').map((one) =>
      splitAnd(one).map((each) => toCondition(each, names, note)),
    )
    if (alternatives.flat().includes(undefined)) return undefined
    return `(${alternatives.map((all) => `(${all.join(' && ')})`).join(' || ')})`
  }
  // This is the sample's idiom for "any key store".
  if (part === `${names.prefix} != ""`) return ''
  const store = new RegExp(`^${escape(names.prefix)} ={1,2} "/?([^"]*)"$`).exec(part)?.[1]
  if (store !== undefined) {
    note(
      `the prefix "${store}" is used as the name of the key store; compare it with keyStores[].name`,
    )
    return `resource in XKS::KeyStore::"${store.split('/')[0] ?? ''}"`
  }
  const field = `${escape(names.metadata)}\\.(\\w+)`
  const equal = new RegExp(`^${field} (=|==|!=) ("[^"]*"|nil)$`).exec(part)
  if (equal !== null) return toComparison(equal[1] ?? '', equal[2] ?? '', equal[3] ?? '')
  const among = new RegExp(`^${field} in \\[ (.*) \\]$`).exec(part)
  if (among !== null) {
    const known = FIELDS[among[1] ?? '']
    return (
      known && guarded(known, `[${(among[2] ?? '').replace(/ ,/g, ',')}].contains(${known.value})`)
    )
  }
  // `in` with an optional string field means equality.
  const holds = new RegExp(`^("[^"]*") in ${field}$`).exec(part)
  if (holds !== null) return toComparison(holds[2] ?? '', '==', holds[1] ?? '')
  note(`cannot translate: ${part}`)
  return undefined
}

function toComparison(name: string, operator: string, value: string): string | undefined {
  const known = FIELDS[name]
  if (known === undefined) return undefined
  const isEqual = operator !== '!='
  if (value === 'nil') {
    if (known.has === undefined) return isEqual ? 'false' : 'true'
    return isEqual ? `!(${known.has})` : known.has
  }
  return guarded(known, `${known.value} ${isEqual ? '==' : '!='} ${value}`)
}

function guarded({ has }: { readonly has?: string }, expression: string): string {
  return has === undefined ? expression : `${has} && ${expression}`
}

function escape(text: string): string {
  return text.replace(/[$]/g, '\\$')
}
