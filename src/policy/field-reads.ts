/**
 * Finds which fields of a request a policy reads, and which keys and actions it can apply to, from
 * its JSON form. Unknown syntax counts as reading everything, so that no cached decision is used
 * for a request that could be decided differently.
 */
// SPDX-License-Identifier: Apache-2.0
import type { PolicyJson } from './cedar.ts'
import { toUidText } from './principal.ts'
import { FIELDS } from './request.ts'

type Node = Readonly<Record<string, unknown>>

const PARENT_FIELDS: ReadonlyMap<string, string> = new Map([
  ['XKS::Account', 'principal.account'],
  ['XKS::Role', 'principal.roles'],
  ['XKS::AwsService', 'principal.service'],
  // An entity is also `in` itself, so this constraint reads the principal.
  ['XKS::Principal', 'principal'],
])

/**
 * Covers the principal in the scope and all conditions, but not the key and action in the scope:
 * see `isFor`.
 */
export function findReads(policy: PolicyJson): ReadonlySet<string> {
  const reads = new Set<string>()
  const { principal } = policy
  if (principal.op === '==') reads.add('principal')
  else if (principal.op === 'in') noteParents(reads, principal)
  else if (principal.op === 'is' && principal.in !== undefined) noteParents(reads, principal.in)
  for (const { body } of policy.conditions) walk(body, reads)
  return reads
}

function noteAll(reads: Set<string>): void {
  for (const field of FIELDS) reads.add(field)
}

/** @param holder an entity, in one of the two forms in which Cedar writes it */
function noteParents(reads: Set<string>, holder: object): void {
  const type = toUid((holder as Node)['entity'])?.type
  const field = type === undefined ? undefined : PARENT_FIELDS.get(type)
  // The field is undefined for a type that no principal belongs to, and for a template slot.
  if (field !== undefined) reads.add(field)
  else noteAll(reads)
}

function toUid(entity: unknown): { readonly type: string; readonly id: string } | undefined {
  if (typeof entity !== 'object' || entity === null) return undefined
  const uid = '__entity' in entity ? entity.__entity : entity
  const { type, id } = uid as Node
  return typeof type === 'string' && typeof id === 'string' ? { type, id } : undefined
}

/**
 * Returns a path such as `context.kmsKey.account` for an expression that is a variable followed
 * only by attributes.
 */
function pathOf(expression: Node): string | undefined {
  const { Var: variable, '.': access } = expression
  if (typeof variable === 'string') return variable
  if (typeof access !== 'object') return undefined
  const { left, attr } = access as { readonly left: Node; readonly attr: string }
  const path = pathOf(left)
  return path === undefined ? undefined : `${path}.${attr}`
}

/** Marks the field and every field inside it as read. */
function note(path: string, reads: Set<string>): void {
  const [root = ''] = path.split('.')
  // Groups, tags, id and key store all follow from the key itself.
  const known = root === 'resource' && !FIELDS.has(path) ? 'resource' : path
  const inside = [...FIELDS].filter(
    (field) => field === known || (root === 'context' && field.startsWith(`${known}.`)),
  )
  if (inside.length === 0) noteAll(reads)
  for (const field of inside) reads.add(field)
}

function walk(expression: Node, reads: Set<string>): void {
  const path = pathOf(expression)
  if (path !== undefined) {
    note(path, reads)
    return
  }
  for (const [operator, operands] of Object.entries(expression)) {
    const handle = OPERATORS[operator]
    if (handle !== undefined) handle(operands as Node, reads)
    else walkOperands(operands, reads)
  }
}

/** Walks operators that need no special treatment, and calls such as `ip("10.0.0.0/8")`. */
function walkOperands(operands: unknown, reads: Set<string>): void {
  if (typeof operands !== 'object' || operands === null) return
  for (const operand of Array.isArray(operands) ? (operands as unknown[]) : Object.values(operands))
    if (typeof operand === 'object' && operand !== null) walk(operand as Node, reads)
}

/**
 * Handles an attribute of an expression that is not a plain path, such as `(if … then principal
 * else resource).arn`.
 */
function walkUnknown(left: Node, reads: Set<string>): void {
  noteAll(reads)
  walk(left, reads)
}

const OPERATORS: Readonly<Record<string, (operands: Node, reads: Set<string>) => void>> = {
  Value: () => undefined,
  Slot: (_, reads) => {
    noteAll(reads)
  },
  '.': ({ left }, reads) => {
    walkUnknown(left as Node, reads)
  },
  has({ left, attr }, reads) {
    const path = pathOf(left as Node)
    if (path === undefined) {
      walkUnknown(left as Node, reads)
      return
    }
    // `has a.b` tests for `a` and, inside it, for `b`.
    let inner = path
    for (const name of Array.isArray(attr) ? (attr as string[]) : [String(attr)]) {
      inner = `${inner}.${name}`
      // The presence of a record counts as a field.
      if (FIELDS.has(inner)) reads.add(inner)
      else note(inner, reads)
    }
  },
  getTag: walkTag,
  hasTag: walkTag,
  in({ left, right }, reads) {
    const path = pathOf(left as Node)
    const entities = path === 'principal' ? literalsOf(right as Node) : undefined
    if (entities !== undefined) for (const entity of entities) noteParents(reads, { entity })
    else if (path === 'resource' || path === 'action') reads.add(path)
    else walkUnknown(left as Node, reads)
    walk(right as Node, reads)
  },
  is({ left, in: within }, reads) {
    // A variable always has the same type, so testing its type reads no field.
    if (pathOf(left as Node) === undefined) walk(left as Node, reads)
    if (within !== undefined) OPERATORS['in']?.({ left, right: within }, reads)
  },
  Record(attributes, reads) {
    for (const value of Object.values(attributes)) walk(value as Node, reads)
  },
  like({ left }, reads) {
    walk(left as Node, reads)
  },
}

function walkTag({ left, right }: Node, reads: Set<string>): void {
  const path = pathOf(left as Node)
  if (path === 'principal') reads.add('principal.tags')
  else if (path === 'resource') reads.add('resource')
  else walkUnknown(left as Node, reads)
  walk(right as Node, reads)
}

/** Returns the entities of a literal or of a set of literals; undefined for anything else. */
function literalsOf(expression: Node): readonly unknown[] | undefined {
  if ('Value' in expression) {
    const { Value: value } = expression
    const values: readonly unknown[] = Array.isArray(value) ? value : [value]
    return values.every((one) => toUid(one) !== undefined) ? values : undefined
  }
  const { Set: elements } = expression
  if (!Array.isArray(elements)) return undefined
  const literals = (elements as Node[]).map(literalsOf)
  return literals.every((one) => one !== undefined) ? literals.flat() : undefined
}

/** A key with its parents, and an action. */
export interface Target {
  /** KEY_STORE/KEY_ID */
  readonly key: string
  readonly keyStore: string
  readonly groups: readonly string[]
  readonly action: 'Encrypt' | 'Decrypt' | 'Describe'
}

/**
 * Reports whether the policy's scope matches this key and action. If it does, it matches every
 * request for this target.
 */
export function isFor({ action, resource }: PolicyJson, target: Target): boolean {
  return isForAction(action, target) && isForKey(resource as unknown as Node, target)
}

/**
 * Reports whether the principal is in the policy's scope.
 * @param uids the principal and its parents, as returned by `uidsOf`
 */
export function isForPrincipal({ principal }: PolicyJson, uids: ReadonlySet<string>): boolean {
  const constraint = principal as unknown as Node
  const { op, entity_type: type, in: within } = constraint
  if (op === 'All') return true
  if (op === 'is' && type !== 'XKS::Principal') return false
  if (op === 'is' && within === undefined) return true
  const uid = toUid(op === 'is' ? (within as Node)['entity'] : constraint['entity'])
  if (uid === undefined) return true
  if (op === '==' && uid.type !== 'XKS::Principal') return false
  return uids.has(toUidText(uid.type, uid.id))
}

function isForAction(constraint: Node, { action }: Target): boolean {
  const { op, entity, entities } = constraint
  if (op === 'All') return true
  const listed: readonly unknown[] = Array.isArray(entities) ? entities : [entity]
  return listed.some((one) => {
    const id = toUid(one)?.id
    return id === action || (op === 'in' && id === 'Use' && action !== 'Describe')
  })
}

function isForKey(constraint: Node, target: Target): boolean {
  const { op, entity_type: type, in: within } = constraint
  if (op === 'All') return true
  if (op === 'is') {
    return (
      type === 'XKS::Key' &&
      (within === undefined || isForKey({ op: 'in', ...(within as Node) }, target))
    )
  }
  const { type: entityType, id } = toUid(constraint['entity']) ?? {}
  if (entityType === 'XKS::Key') return id === target.key
  if (op !== 'in') return false
  if (entityType === 'XKS::KeyStore') return id === target.keyStore
  return entityType === 'XKS::KeyGroup' && id !== undefined && target.groups.includes(id)
}
