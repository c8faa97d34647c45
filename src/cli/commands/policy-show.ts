/**
 * Implements `latchkey policy list | get | history | schema`, which show the policies and their
 * history.
 */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import { PolicyError } from '../../policy/cedar.ts'
import { compileDocuments } from '../../policy/policy-set.ts'
import { SCHEMA, SCHEMA_VERSION } from '../../policy/schema.ts'
import { type Command, UsageError, stringFlag } from '../../terminal/command.ts'
import { PLACE_FLAGS } from '../../terminal/contexts.ts'
import { withPolicies } from '../with-administration.ts'
import { CANDIDATE_FLAGS } from '../with-policies.ts'

export const policyList: Command = {
  flags: PLACE_FLAGS,
  examples: ['latchkey policy list'],
  run: (context) =>
    withPolicies(context, async (policies) => {
      const { revision, enforced, shadow } = await policies.state()
      const names = [...new Set([...enforced.keys(), ...(shadow?.keys() ?? [])])].sort()
      const set = await compileDocuments(shadow ?? enforced)
      const documents = names.map((name) => {
        const inForce = enforced.get(name)
        const inShadow = shadow === undefined ? inForce : shadow.get(name)
        return {
          name,
          isEnforced: inForce !== undefined,
          shadow: inForce === inShadow ? 'same' : inShadow === undefined ? 'deleted' : 'other',
          policies: set.policies.filter(({ document }) => document === name).map(({ id }) => id),
          sha256: hash(inForce ?? inShadow ?? ''),
        }
      })
      const rows = documents.map((one) => [
        one.name,
        one.isEnforced ? 'in force' : '-',
        one.shadow === 'same' ? '-' : one.shadow === 'deleted' ? 'deleted' : 'changed',
        one.policies.join(' '),
      ])
      const text =
        names.length === 0
          ? 'no policies: every caller with a credential for a key store may use all of its keys'
          : `revision ${String(revision)}\n${context.output.table(['NAME', 'STATE', 'IN SHADOW', 'POLICIES'], rows)}`
      context.output.result(context.output.fold(text), { revision, documents })
    }),
}

function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

export const policyGet: Command = {
  operands: ['NAME'],
  flags: {
    revision: {
      type: 'string',
      value: 'REVISION',
      description: 'Revision to print (default: the current one).',
    },
    shadow: CANDIDATE_FLAGS.shadow,
    ...PLACE_FLAGS,
  },
  examples: ['latchkey policy get s3', 'latchkey policy get s3 --revision 3 > s3.cedar'],
  run: (context) =>
    withPolicies(context, async (policies) => {
      const [name = ''] = context.operands
      const given = stringFlag(context, 'revision')
      if (given !== undefined && !/^\d{1,9}$/.test(given)) {
        throw new UsageError('INPUT_INVALID', `expected a revision number, found ${given}`, {
          hint: 'run latchkey policy history to see the revisions',
        })
      }
      const { enforced, shadow } = await policies.state()
      const current = context.flags['shadow'] === true ? (shadow ?? enforced) : enforced
      const documents = given === undefined ? current : await policies.at(Number(given))
      const text = documents.get(name)
      if (text === undefined) {
        throw new PolicyError('POLICY_NOT_FOUND', `there is no document ${name}`, {
          hint: 'run latchkey policy list to see the documents',
        })
      }
      context.output.document(text, { name, text, sha256: hash(text) })
    }),
}

export const policyHistory: Command = {
  flags: PLACE_FLAGS,
  examples: ['latchkey policy history'],
  run: (context) =>
    withPolicies(context, async (policies) => {
      const revisions = await policies.history()
      const rows = revisions.map(({ revision, action, createdAt, operator, reason, documents }) => [
        ...[String(revision), new Date(createdAt).toISOString(), action, operator],
        documents
          .map(({ name, mode }) => (mode === 'shadow' ? `${name} (shadow)` : name))
          .join(' '),
        reason,
      ])
      const heading = ['REVISION', 'AT', 'ACTION', 'OPERATOR', 'DOCUMENTS', 'REASON']
      const text =
        rows.length === 0
          ? 'no policies have ever been stored'
          : context.output.table(heading, rows)
      const toHash = ({
        name,
        mode,
        text: document,
      }: (typeof revisions)[number]['documents'][number]) => ({
        ...{ name, mode },
        ...(document === undefined ? {} : { sha256: hash(document) }),
      })
      const json = revisions.map((one) => ({ ...one, documents: one.documents.map(toHash) }))
      context.output.result(text, { revisions: json })
    }),
}

export const policySchema: Command = {
  flags: {},
  examples: ['latchkey policy schema > policy.cedarschema'],
  run({ output }) {
    output.result(SCHEMA, { version: SCHEMA_VERSION, schema: SCHEMA })
    return Promise.resolve()
  },
}
