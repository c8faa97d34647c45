/**
 * Stores policies as sealed rows of the control store. A change creates a revision with a row for
 * each document that it touches; rows are never changed or deleted, so every earlier revision can
 * be restored.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../core/clock.ts'
import type { Reader, Row } from '../store/database.ts'
import { appendEvent } from '../store/event-log.ts'
import { expectPage } from '../store/row-pages.ts'
import { column, loadTables } from '../store/sealed-rows.ts'
import { POLICIES } from '../store/sealed-tables.ts'
import { type SealedTransaction, insertRow } from '../store/sealed-transaction.ts'
import type { Sealing } from '../store/sealing.ts'
import type { Store } from '../store/store.ts'
import type { PolicyState } from './authorizer.ts'
import { PolicyError } from './cedar.ts'
import type { Documents } from './policy-set.ts'

export type PolicyMode = 'enforce' | 'shadow'

export type PolicyChange =
  | { readonly kind: 'put'; readonly documents: Documents; readonly mode: PolicyMode }
  | { readonly kind: 'delete'; readonly name: string; readonly mode: PolicyMode }
  /** Puts the documents in shadow mode into force. */
  | { readonly kind: 'promote' }
  /** Discards the documents in shadow mode. */
  | { readonly kind: 'discard' }
  /**
   * Restores the documents that an earlier revision had in force; documents in shadow mode are
   * kept.
   */
  | { readonly kind: 'rollback'; readonly revision: number }

/** Effect of a revision on one document. */
interface Entry {
  readonly name: string
  /** `discard`: the document is no longer in shadow mode. */
  readonly mode: PolicyMode | 'discard'
  /** Undefined if the document is deleted. */
  readonly text: string | undefined
}

interface StoredEntry extends Entry {
  readonly revision: number
  readonly action: PolicyChange['kind']
  readonly reason: string
  readonly operator: string
  readonly createdAt: number
}

export interface PolicyRevision {
  readonly revision: number
  readonly action: PolicyChange['kind']
  readonly reason: string
  readonly operator: string
  /** Wall time in milliseconds since the Unix epoch. */
  readonly createdAt: number
  readonly documents: readonly Pick<Entry, 'name' | 'mode' | 'text'>[]
}

export interface Author {
  readonly kind: PolicyChange['kind']
  readonly operator: string
  readonly reason: string
}

/** A change that was planned but not written. */
export interface PlannedChange {
  readonly change: PolicyChange
  readonly before: PolicyState
  readonly after: PolicyState
  readonly entries: readonly Entry[]
}

/** The query of `loadPolicyState`, besides that of `readState`. */
export const POLICY_ENTRIES = expectPage(POLICIES)

/** @throws StorageError STORE_TAMPERED */
export async function loadPolicyState(reader: Reader, sealing: Sealing): Promise<PolicyState> {
  return toState(await loadEntries(reader, sealing))
}

/**
 * Returns all revisions, newest first.
 * @throws StorageError STORE_TAMPERED
 */
export async function loadPolicyHistory(store: Store): Promise<readonly PolicyRevision[]> {
  const load = (reader: Reader) => loadEntries(reader, store.sealing)
  const revisions = new Map<number, PolicyRevision>()
  for (const entry of await store.database.snapshot(load)) {
    const { revision, action, reason, operator, createdAt } = entry
    const { documents = [] } = revisions.get(revision) ?? {}
    revisions.set(revision, {
      ...{ revision, action, reason, operator, createdAt },
      documents: [...documents, entry],
    })
  }
  return [...revisions.values()].reverse()
}

/**
 * Returns the documents in force after an earlier revision.
 * @throws PolicyError POLICY_NOT_FOUND, StorageError
 */
export async function loadPoliciesAt(store: Store, revision: number): Promise<Documents> {
  const load = (reader: Reader) => loadEntries(reader, store.sealing)
  return stateAt(await store.database.snapshot(load), revision).enforced
}

/** @throws PolicyError POLICY_NOT_FOUND, POLICY_UNCHANGED; StorageError */
export async function planChange(store: Store, change: PolicyChange): Promise<PlannedChange> {
  const entries = await store.database.snapshot((reader) => loadEntries(reader, store.sealing))
  const before = toState(entries)
  const changes = toEntries(entries, before, change)
  if (changes.length === 0) {
    throw new PolicyError('POLICY_UNCHANGED', 'the policies already have this content')
  }
  const revision = before.revision + 1
  const stored = changes.map((entry) => ({ ...entry, revision }))
  return { change, before, after: toState([...entries, ...stored]), entries: changes }
}

/** A change that was written to the store. */
export interface StoredChange<Noted> {
  /**
   * Store epoch after the change: an instance that has acknowledged this epoch applies the change.
   */
  readonly epoch: number
  readonly tag: string
  readonly noted: Noted
}

/**
 * Writes the change in one durable transaction and raises the epoch, because servers reload
 * policies, like switches, at each new epoch.
 * @param note reads related state in the same transaction
 * @throws PolicyError POLICY_CHANGED if another revision was written in the meantime; StorageError
 */
export async function writeChange<Noted>(
  store: Store,
  clock: Clock,
  { before, after, entries }: PlannedChange,
  by: Author & { readonly note: (transaction: SealedTransaction) => Promise<Noted> },
): Promise<StoredChange<Noted>> {
  const { revision } = after
  const { kind: action, operator, reason } = by
  return store.change(async (transaction, epoch) => {
    const now = await loadEntries(transaction, store.sealing)
    if (toState(now).revision !== before.revision) {
      throw new PolicyError('POLICY_CHANGED', 'the policies were changed in the meantime', {
        hint: 'review the change with latchkey policy history; if yours still applies, run the command again',
      })
    }
    const at = clock.now()
    for (const { name, mode, text } of entries) {
      const row = { revision, name, mode, document: text ?? null, action, reason, operator }
      await insertRow(transaction, store.sealing, POLICIES, { ...row, created_at: at })
    }
    await appendEvent(transaction, store.sealing, {
      ...{ at, epoch, operator },
      kind: `policy-${action}`,
      detail: { revision, reason, documents: entries.map(({ name, mode }) => `${name} (${mode})`) },
    })
    return { epoch, tag: transaction.ledger.tag, noted: await by.note(transaction) }
  })
}

/**
 * Returns a change's effect on each document that it touches; empty if the change has no effect.
 */
function toEntries(
  entries: readonly StoredEntry[],
  { enforced, shadow }: PolicyState,
  change: PolicyChange,
): readonly Entry[] {
  const inShadow = shadowOf(entries)
  switch (change.kind) {
    case 'put': {
      const { documents, mode } = change
      const current = mode === 'enforce' ? enforced : (shadow ?? enforced)
      return [...documents].flatMap(([name, text]) =>
        current.get(name) === text && !(mode === 'enforce' && inShadow.has(name))
          ? []
          : [{ name, mode, text }],
      )
    }
    case 'delete': {
      const { name, mode } = change
      if (!enforced.has(name)) throw notFound(`no document ${name} is in force`)
      return [{ name, mode, text: undefined }]
    }
    case 'promote':
      return [...inShadow].map(([name, text]) => ({ name, mode: 'enforce', text }))
    case 'discard':
      return [...inShadow.keys()].map((name) => ({ name, mode: 'discard', text: undefined }))
    case 'rollback': {
      const then = stateAt(entries, change.revision).enforced
      const names = [...new Set([...enforced.keys(), ...then.keys()])].sort()
      return names
        .filter((name) => enforced.get(name) !== then.get(name))
        .map((name) => ({ name, mode: 'enforce', text: then.get(name) }))
    }
  }
}

function notFound(message: string): PolicyError {
  return new PolicyError('POLICY_NOT_FOUND', message, {
    hint: 'run latchkey policy list to see the documents, and latchkey policy history to see the revisions',
  })
}

function stateAt(entries: readonly StoredEntry[], revision: number): PolicyState {
  if (!entries.some((entry) => entry.revision === revision)) {
    throw notFound(`there is no revision ${String(revision)}`)
  }
  return toState(entries.filter((entry) => entry.revision <= revision))
}

/**
 * Returns the contents of the documents in shadow mode, by name. The value is undefined if a
 * document's deletion is in shadow mode.
 */
function shadowOf(entries: readonly Entry[]): ReadonlyMap<string, string | undefined> {
  const inShadow = new Map<string, string | undefined>()
  for (const { name, mode, text } of entries) {
    if (mode === 'shadow') inShadow.set(name, text)
    else inShadow.delete(name)
  }
  return inShadow
}

/** @param entries in the order of their revisions */
function toState(entries: readonly (Entry & { readonly revision: number })[]): PolicyState {
  const enforced = new Map<string, string>()
  for (const { name, mode, text } of entries) {
    if (mode !== 'enforce') continue
    if (text === undefined) enforced.delete(name)
    else enforced.set(name, text)
  }
  return {
    revision: entries.at(-1)?.revision ?? 0,
    enforced: sorted(enforced),
    shadow: withShadow(enforced, shadowOf(entries)),
  }
}

/**
 * Returns the documents in force, with shadow documents replacing those of the same name; undefined
 * if there are no shadow documents.
 */
export function withShadow(
  enforced: Documents,
  inShadow: ReadonlyMap<string, string | undefined>,
): Documents | undefined {
  if (inShadow.size === 0) return undefined
  const documents = new Map(enforced)
  for (const [name, text] of inShadow) {
    if (text === undefined) documents.delete(name)
    else documents.set(name, text)
  }
  return sorted(documents)
}

function sorted(documents: Documents): Documents {
  return new Map([...documents].sort(([a], [b]) => (a < b ? -1 : 1)))
}

async function loadEntries(reader: Reader, sealing: Sealing): Promise<readonly StoredEntry[]> {
  const [rows = []] = await loadTables(reader, sealing, [POLICIES])
  return rows.map(parseEntry)
}

/** The casts are safe: the row's MAC proves that `writeChange` wrote it. */
function parseEntry(row: Row): StoredEntry {
  const document = column(row, 'document')
  return {
    revision: Number(column(row, 'revision')),
    name: String(column(row, 'name')),
    mode: column(row, 'mode') as Entry['mode'],
    text: document === null ? undefined : String(document),
    action: column(row, 'action') as PolicyChange['kind'],
    reason: String(column(row, 'reason')),
    operator: String(column(row, 'operator')),
    createdAt: Number(column(row, 'created_at')),
  }
}
