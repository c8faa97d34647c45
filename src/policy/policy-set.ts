/**
 * Compiles policy documents: each policy with its id, its position, its targets and the fields that
 * it reads.
 */
// SPDX-License-Identifier: Apache-2.0
import {
  type Cedar,
  type Complaint,
  loadCedar,
  PolicyError,
  type PolicyFault,
  type PolicyJson,
} from './cedar.ts'
import { findReads } from './field-reads.ts'
import { type Labels, LABELS, NO_LABELS, parseLabels } from './labels.ts'

/** Contents of the documents, by name. `labels` is YAML; all other documents are Cedar. */
export type Documents = ReadonlyMap<string, string>

export interface Policy {
  /** The policy's `@id` annotation; otherwise `DOCUMENT#N`, where N is 1-based. */
  readonly id: string
  readonly document: string
  /** 1-based line number of its first character in the document. */
  readonly line: number
  readonly text: string
  readonly json: PolicyJson
  /** Fields that its conditions and its principal constraint read. */
  readonly reads: ReadonlySet<string>
}

export interface PolicySet {
  readonly cedar: Cedar
  readonly policies: readonly Policy[]
  readonly labels: Labels
}

export const MAX_DOCUMENT_BYTES = 256 * 1024
/** Maximum number of policies, small enough for a server to apply all of them within a lease. */
export const MAX_POLICIES = 500
const DOCUMENT_NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/
const ID = /^[\x21-\x7e]{1,128}$/
/** Number of policies compiled in one turn of the event loop. */
const SLICE = 10

/** Cache of compiled documents, so that a change recompiles only the documents that it affects. */
const compiled = new Map<string, readonly Policy[]>()

/**
 * Compiles documents without validating them against the schema; use `checkDocuments` for that.
 * Yields to the event loop after every few policies.
 * @throws PolicyError POLICY_INVALID listing every error
 */
export async function compileDocuments(documents: Documents): Promise<PolicySet> {
  const cedar = await loadCedar()
  const faults: PolicyFault[] = []
  const policies: Policy[] = []
  const kept = new Map<string, readonly Policy[]>()
  let labels = NO_LABELS
  for (const [name, text] of documents) {
    try {
      checkDocument(name, text)
      if (name === LABELS) labels = parseLabels(text)
      else {
        const key = `${name}\n${text}`
        const own = compiled.get(key) ?? (await compileDocument(cedar, name, text))
        kept.set(key, own)
        policies.push(...own)
      }
    } catch (error) {
      if (!(error instanceof PolicyError) || error.faults === undefined) throw error
      faults.push(...error.faults)
    }
  }
  faults.push(...findDuplicates(policies))
  if (policies.length > MAX_POLICIES) {
    const message = `expected at most ${String(MAX_POLICIES)} policies, found ${String(policies.length)}`
    faults.push({ path: policies.at(-1)?.document ?? '', message })
  }
  if (faults.length > 0) throw invalid(faults)
  compiled.clear()
  for (const [key, own] of kept) compiled.set(key, own)
  return { cedar, policies, labels }
}

/**
 * Compiles documents and validates them strictly against the schema.
 * @returns the set, and Cedar's warnings about policies that can never apply
 * @throws PolicyError POLICY_INVALID listing every error
 */
export async function checkDocuments(
  documents: Documents,
): Promise<PolicySet & { readonly warnings: readonly PolicyFault[] }> {
  const set = await compileDocuments(documents)
  const { policies, cedar } = set
  const texts = Object.fromEntries(policies.map(({ id, text }) => [id, text]))
  const { errors, warnings } = cedar.validate(texts)
  const toFaults = (complaints: typeof errors) => {
    const byText = new Map<string, PolicyFault>()
    for (const { policyId, message, offset } of complaints) {
      const policy = policies.find(({ id }) => id === policyId)
      const fault = {
        path: policy === undefined ? policyId : placeIn(policy, offset),
        // Cedar repeats an error for each action; one is enough.
        message: message
          .replace(/for policy `[^`]*`, /, '')
          .replace(/ in context for XKS::Action::"\w+"/, ' in context'),
      }
      byText.set(`${fault.path} ${fault.message}`, fault)
    }
    return [...byText.values()].sort((a, b) => (a.path < b.path ? -1 : 1))
  }
  if (errors.length > 0) throw invalid(toFaults(errors))
  return { ...set, warnings: toFaults(warnings) }
}

/** @throws PolicyError POLICY_INVALID */
function checkDocument(name: string, text: string): void {
  const fault = (message: string) => invalid([{ path: name, message }])
  if (!DOCUMENT_NAME.test(name)) {
    throw fault('expected a name of 1 to 64 lower-case letters, digits, periods and hyphens')
  }
  const bytes = Buffer.byteLength(text)
  if (bytes > MAX_DOCUMENT_BYTES) {
    throw fault(`expected at most ${String(MAX_DOCUMENT_BYTES)} bytes, found ${String(bytes)}`)
  }
}

/** @throws PolicyError POLICY_INVALID */
async function compileDocument(
  cedar: Cedar,
  document: string,
  text: string,
): Promise<readonly Policy[]> {
  const parts = cedar.split(text)
  if ('faults' in parts) {
    throw invalid(parts.faults.map((complaint) => toFault(document, text, complaint)))
  }
  const policies: Policy[] = []
  let at = 0
  for (const [i, part] of parts.policies.entries()) {
    if (i % SLICE === SLICE - 1) await new Promise((resolve) => setImmediate(resolve))
    at = Math.max(at, text.indexOf(part, at))
    const json = cedar.toJson(part)
    const id = json.annotations?.['id'] ?? `${document}#${String(i + 1)}`
    const line = lineOf(text, at)
    if (!ID.test(id)) {
      const message = '@id: expected 1 to 128 printable characters without spaces'
      throw invalid([{ path: `${document}.cedar:${String(line)}`, message }])
    }
    policies.push({ id, document, line, text: part, json, reads: findReads(json) })
    at += part.length
  }
  return policies
}

function findDuplicates(policies: readonly Policy[]): readonly PolicyFault[] {
  const seen = new Map<string, Policy>()
  return policies.flatMap((policy) => {
    const first = seen.get(policy.id)
    seen.set(policy.id, first ?? policy)
    if (first === undefined) return []
    const message = `the id "${policy.id}" is already used by the policy at ${placeOf(first)}`
    return [{ path: placeOf(policy), message }]
  })
}

/** `NAME.cedar:LINE` */
export function placeOf({ document, line }: Pick<Policy, 'document' | 'line'>): string {
  return `${document}.cedar:${String(line)}`
}

/** @param offset in bytes of UTF-8 from the start of the policy */
function placeIn({ document, line, text }: Policy, offset: number): string {
  const before = Buffer.from(text).subarray(0, offset).toString()
  const column = before.length - before.lastIndexOf('\n')
  return `${document}.cedar:${String(line - 1 + lineOf(before, before.length))}:${String(column)}`
}

function toFault(document: string, text: string, { message, offset }: Complaint): PolicyFault {
  return { path: placeIn({ document, line: 1, text } as Policy, offset), message }
}

function lineOf(text: string, at: number): number {
  return text.slice(0, at).split('\n').length
}

function invalid(faults: readonly PolicyFault[]): PolicyError {
  const lines = faults.map(({ path, message }) => `${path}: ${message}`)
  return new PolicyError('POLICY_INVALID', lines.join('; '), { faults })
}
