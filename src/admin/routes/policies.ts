/** Routes for policies, and for the recorded usage against which policies are tested. */
// SPDX-License-Identifier: Apache-2.0
import { checkPermitted } from '../principal.ts'
import { toRemark } from '../../core/remark.ts'
import type { components } from '../../openapi/types.gen.ts'
import type { PolicyState } from '../../policy/authorizer.ts'
import type { Documents } from '../../policy/policy-set.ts'
import type { PlannedChange, PolicyChange } from '../../policy/policy-table.ts'
import type { PolicyAdministration } from '../administration.ts'
import { AdminError } from '../errors.ts'
import { okPage, parsePage } from '../paging.ts'
import { type AdminRoute, ok, okList } from '../route.ts'

type Schemas = components['schemas']

export interface PolicyRoutesDeps {
  /** Opens the policies for one call. */
  readonly withPolicies: <T>(work: (policies: PolicyAdministration) => Promise<T>) => Promise<T>
  /** @throws PolicyError POLICY_INVALID for documents that do not match the schema */
  readonly checkDocuments: (documents: Documents) => Promise<unknown>
  /** Returns the wall time in milliseconds since the Unix epoch. */
  readonly now: () => number
}

/** Maximum body size in bytes, large enough for the policies of a large organization. */
const MAX_BODY_BYTES = 4 * 1024 * 1024
const PATH = '/admin/v1/policies'
/** Error code that the `latchkey` command reports when it works directly on the control store. */
const CHANGED = 'POLICY_CHANGED'

const parseRevision = (text: string) => (/^\d{1,9}$/.test(text) ? Number(text) : undefined)

/**
 * Policies concern all key stores, so callers limited to some key stores may not use these routes.
 */
export function policyRoutes(deps: PolicyRoutesDeps): readonly AdminRoute[] {
  const { withPolicies, now } = deps
  return [
    {
      ...{ method: 'GET', path: PATH, permission: 'read' },
      async handle({ principal }) {
        checkPermitted(principal, 'read')
        return ok(toState(await withPolicies((policies) => policies.state())))
      },
    },
    {
      ...{ method: 'GET', path: `${PATH}/history`, permission: 'read' },
      async handle({ principal, query }) {
        checkPermitted(principal, 'read')
        const page = parsePage(query, 'revisions', parseRevision)
        const { after = Infinity, count } = page
        const all = await withPolicies((policies) => policies.history())
        const found = all.filter(({ revision }) => revision < after).slice(0, count)
        return okPage('revisions', page, found, ({ revision }) => String(revision))
      },
    },
    {
      ...{ method: 'GET', path: `${PATH}/revisions/:revision`, permission: 'read' },
      async handle({ parameters, principal }) {
        checkPermitted(principal, 'read')
        const revision = parseRevision(parameters['revision'] ?? '')
        if (revision === undefined) {
          throw new AdminError('INPUT_INVALID', 'revision must be a whole number')
        }
        const found = await withPolicies((policies) => policies.at(revision))
        return ok({ documents: Object.fromEntries(found) })
      },
    },
    {
      ...{ method: 'POST', path: PATH, permission: 'policy', body: 'AdminPolicyChangeRequest' },
      bodyLimit: MAX_BODY_BYTES,
      async handle({ body, principal }) {
        checkPermitted(principal, 'policy')
        const raw = body as Schemas['AdminPolicyChangeRequest']
        return ok(await withPolicies((policies) => change(deps, policies, raw, principal.name)))
      },
    },
    {
      ...{ method: 'GET', path: '/admin/v1/usage', permission: 'read' },
      async handle({ query, principal }) {
        checkPermitted(principal, 'read')
        const since = query.get('since') ?? ''
        if (!/^\d{1,15}$/.test(since) || Number(since) > now()) {
          throw new AdminError(
            'INPUT_INVALID',
            'since must be a time in milliseconds since the Unix epoch',
          )
        }
        const { usage, ...rest } = await withPolicies((policies) => policies.usage(Number(since)))
        return okList('usage', usage, rest)
      },
    },
  ]
}

/** @throws AdminError, PolicyError */
async function change(
  { checkDocuments }: PolicyRoutesDeps,
  policies: PolicyAdministration,
  raw: Schemas['AdminPolicyChangeRequest'],
  operator: string,
): Promise<Schemas['AdminPolicyChange']> {
  const plan = await policies.plan(toChange(raw))
  const { expectedRevision, reason, timeoutMs } = raw
  if (expectedRevision !== undefined && expectedRevision !== plan.before.revision) {
    throw new AdminError('CONFLICT', 'the policies were changed in the meantime', {
      reason: CHANGED,
      hint: 'review the change with latchkey policy history; if yours still applies, run the command again',
    })
  }
  if (raw.dryRun === true) return toAnswer(plan)
  if (reason === undefined)
    throw new AdminError('INPUT_INVALID', 'a change requires the field "reason"')
  await checkDocuments(plan.after.enforced)
  if (plan.after.shadow !== undefined) await checkDocuments(plan.after.shadow)
  const by = { kind: raw.kind, operator, reason: toRemark(reason) }
  const { epoch, revocation } = await policies.apply(plan, by, {
    wait: raw.wait !== false,
    ...(timeoutMs === undefined ? {} : { patienceMs: timeoutMs }),
  })
  return {
    ...{ ...toAnswer(plan), epoch },
    ...(revocation && {
      elapsedMs: revocation.elapsedMs,
      instances: [...revocation.instances],
    }),
  }
}

/** @throws AdminError INPUT_INVALID */
function toChange(raw: Schemas['AdminPolicyChangeRequest']): PolicyChange {
  const { kind, documents, name, revision, mode = 'enforce' } = raw
  const need = <T>(value: T | undefined, field: string): T => {
    if (value === undefined)
      throw new AdminError('INPUT_INVALID', `"${kind}" requires the field "${field}"`)
    return value
  }
  switch (kind) {
    case 'put': {
      const given = Object.entries(need(documents, 'documents'))
      return { kind, mode, documents: new Map(given) }
    }
    case 'delete':
      return { kind, mode, name: need(name, 'name') }
    case 'rollback':
      return { kind, revision: need(revision, 'revision') }
    case 'promote':
    case 'discard':
      return { kind }
  }
}

function toAnswer({ before, after, entries }: PlannedChange): Schemas['AdminPolicyChange'] {
  return {
    before: toState(before),
    after: toState(after),
    entries: entries.map(({ name, mode, text }) => ({
      ...{ name, mode },
      ...(text === undefined ? {} : { text }),
    })),
  }
}

function toState({ revision, enforced, shadow }: PolicyState): Schemas['AdminPolicies'] {
  return {
    ...{ revision, enforced: Object.fromEntries(enforced) },
    ...(shadow && { shadow: Object.fromEntries(shadow) }),
  }
}
