/** Manages policies through the admin listener. Implements the control store's interface. */
// SPDX-License-Identifier: Apache-2.0
import type { components } from '../../openapi/types.gen.ts'
import type { PolicyState } from '../../policy/authorizer.ts'
import type { PlannedChange, PolicyChange, PolicyRevision } from '../../policy/policy-table.ts'
import type { Activity } from '../../usage/usage-table.ts'
import type { PolicyAdministration } from '../administration.ts'
import type { AdminApi } from './api.ts'
import { loadPages } from './pages.ts'

type Schemas = components['schemas']

const PATH = '/admin/v1/policies'
/** Margin added to the listener's own timeout. */
const MARGIN_MS = 10_000
/**
 * Client-side timeout, longer than the listener's default timeout of 30 s plus the lease, which is
 * at most a minute.
 */
const APPLY_TIMEOUT_MS = 120_000

export function createRemotePolicies(api: AdminApi): PolicyAdministration {
  return {
    state: async () => toState(await api.get(PATH)),
    async plan(change) {
      const found = await api.post(PATH, { ...toRequest(change), dryRun: true })
      return toPlan(change, found)
    },
    async apply({ change, before }, { reason }, { wait, patienceMs, onWritten }) {
      const body = {
        ...{ ...toRequest(change), expectedRevision: before.revision, reason, wait },
        ...(patienceMs === undefined ? {} : { timeoutMs: patienceMs }),
      }
      const timeoutMs = (patienceMs ?? APPLY_TIMEOUT_MS) + MARGIN_MS
      const { epoch = 0, elapsedMs, instances } = await api.post(PATH, body, { timeoutMs })
      onWritten?.(epoch)
      const isWaited = elapsedMs !== undefined && instances !== undefined
      return { epoch, ...(isWaited && { revocation: { elapsedMs, instances } }) }
    },
    async history() {
      const pages = await loadPages((query) => api.get(`${PATH}/history`, { query }))
      const revisions: readonly unknown[] = pages.flatMap((page) => page.revisions)
      return revisions as readonly PolicyRevision[]
    },
    async at(revision) {
      const path = { revision }
      const { documents } = await api.get(`${PATH}/revisions/{revision}`, { path })
      return new Map(Object.entries(documents))
    },
    async usage(since) {
      const { usage, period } = await api.get('/admin/v1/usage', { query: { since } })
      return { usage: usage as readonly unknown[] as readonly Activity[], period }
    },
    close() {
      api.close()
      return Promise.resolve()
    },
  }
}

function toRequest(change: PolicyChange): Schemas['AdminPolicyChangeRequest'] {
  if (change.kind !== 'put') return change
  return { ...change, documents: Object.fromEntries(change.documents) }
}

function toState({ revision, enforced, shadow }: Schemas['AdminPolicies']): PolicyState {
  return {
    revision,
    enforced: new Map(Object.entries(enforced)),
    shadow: shadow && new Map(Object.entries(shadow)),
  }
}

function toPlan(change: PolicyChange, found: Schemas['AdminPolicyChange']): PlannedChange {
  return {
    change,
    before: toState(found.before),
    after: toState(found.after),
    entries: found.entries.map(({ name, mode, text }) => ({ name, mode, text })),
  }
}
