/**
 * Policies about logs and witnesses (c2sp.org/tlog-policy). A policy states who must have cosigned
 * a checkpoint.
 */
// SPDX-License-Identifier: Apache-2.0
import { type NoteKey, parseVerifierKey } from './note.ts'

export interface PolicyMember {
  readonly key: NoteKey
  readonly url?: string
}

export interface LogPolicy {
  readonly logs: readonly PolicyMember[]
  readonly witnesses: readonly PolicyMember[]
  /** Reports whether these witnesses form a quorum. */
  isQuorum(witnesses: readonly NoteKey[]): boolean
}

type Rule = (signers: ReadonlySet<string>) => boolean

/** Parses a policy. If the text is invalid, returns the error and its line as text. */
export function parseLogPolicy(text: string): LogPolicy | string {
  const policy = new PolicyParser()
  for (const [i, line] of text.split('\n').entries()) {
    const fault = policy.read(line)
    if (fault !== undefined) return `line ${String(i + 1)}: ${fault}`
  }
  return policy.result()
}

const rawKeyOf = ({ publicKey }: NoteKey) =>
  publicKey.export({ format: 'der', type: 'spki' }).toString('base64')

const isHttp = (url: string) => URL.canParse(url) && /^https?:$/.test(new URL(url).protocol)

class PolicyParser {
  readonly #logs: PolicyMember[] = []
  readonly #witnesses: PolicyMember[] = []
  readonly #rules = new Map<string, Rule>()
  /** Names that are already members of a group. A name may be in one group only. */
  readonly #used = new Set<string>()
  #quorum: Rule | undefined

  /** Reads one line. Returns the error as text if the line is invalid. */
  read(line: string): string | undefined {
    if (/[^\t\u0020-\u007e\u0080-\uffff]/.test(line)) return 'control characters are not allowed'
    const [kind, ...words] = line.split(/[ \t]+/).filter((word) => word !== '')
    if (kind === undefined || kind.startsWith('#')) return undefined
    switch (kind) {
      case 'log':
        return this.#readMember(words, 'note', this.#logs)
      case 'witness': {
        const [name = '', ...rest] = words
        const fault = this.#checkNew(name) ?? this.#readMember(rest, 'cosignature', this.#witnesses)
        const key = this.#witnesses.at(-1)?.key
        if (fault === undefined && key !== undefined) {
          const raw = rawKeyOf(key)
          this.#rules.set(name, (signers) => signers.has(raw))
        }
        return fault
      }
      case 'group':
        return this.#readGroup(words)
      case 'quorum':
        return this.#readQuorum(words)
      default:
        return `expected log, witness, group or quorum, found ${kind}`
    }
  }

  result(): LogPolicy | string {
    const quorum = this.#quorum
    if (quorum === undefined) return 'the quorum line is missing'
    return {
      logs: this.#logs,
      witnesses: this.#witnesses,
      isQuorum: (witnesses) => quorum(new Set(witnesses.map(rawKeyOf))),
    }
  }

  #readMember(
    [text = '', url, ...more]: readonly string[],
    type: NoteKey['type'],
    members: PolicyMember[],
  ): string | undefined {
    const key = parseVerifierKey(text)
    if (key?.type !== type)
      return `expected the Ed25519 key of a ${type === 'note' ? 'log' : 'witness'}`
    if (more.length > 0) return 'expected nothing after the URL'
    if (url !== undefined && !isHttp(url)) return `${url} is not a URL`
    const raw = rawKeyOf(key)
    if (members.some((one) => rawKeyOf(one.key) === raw)) return 'this key is listed twice'
    members.push({ key, ...(url === undefined ? {} : { url }) })
    return undefined
  }

  #checkNew(name: string): string | undefined {
    if (name === '' || name === 'none') return 'expected a name'
    return this.#rules.has(name) ? `the name ${name} is used twice` : undefined
  }

  #readGroup([name = '', count = '', ...names]: readonly string[]): string | undefined {
    const fault = this.#checkNew(name)
    if (fault !== undefined) return fault
    const members: Rule[] = []
    for (const one of names) {
      const rule = this.#rules.get(one)
      if (rule === undefined) return `${one} is not defined above`
      if (this.#used.has(one)) return `${one} is already a member of a group`
      this.#used.add(one)
      members.push(rule)
    }
    const least = count === 'all' ? names.length : count === 'any' ? 1 : Number(count)
    const isCount = /^(all|any|[1-9]\d*)$/.test(count) && least <= names.length
    if (!isCount || names.length === 0) {
      return 'expected all, any or a number (at most the number of members), followed by the members'
    }
    this.#rules.set(
      name,
      (signers) => members.filter((isWitnessed) => isWitnessed(signers)).length >= least,
    )
    return undefined
  }

  #readQuorum([name = '', ...more]: readonly string[]): string | undefined {
    if (this.#quorum !== undefined) return 'expected only one quorum line'
    const rule = name === 'none' ? () => true : this.#rules.get(name)
    if (rule === undefined || more.length > 0)
      return 'expected the word none, or one name that is defined above'
    this.#quorum = rule
    return undefined
  }
}
