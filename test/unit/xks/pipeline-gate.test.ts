/** Tests both gate checks, and the requests in progress between them. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { createAuthorizer, preparePolicies } from '../../../src/policy/authorizer.ts'
import { createRules } from '../../../src/killswitch/gate/rules.ts'
import {
  DEADLINE_MS,
  ENCRYPT,
  DECRYPT,
  METADATA,
  HEALTH,
  never,
  openGate,
  pipelineOf,
} from '../../support/pipeline.ts'

const KILL_ALL = createRules([
  {
    ...{ id: 'a', scope: { kind: 'all' }, direction: 'both', reason: 'r', operator: 'o' },
    ...{ createdAt: 0, epoch: 2 },
  },
])

void t.test('a killed request is refused before its key is looked at', async (t) => {
  for (const request of [METADATA, ENCRYPT, DECRYPT, HEALTH]) {
    const gate = openGate()
    gate.apply(KILL_ALL, 2)
    const describe = () => Promise.reject(new Error('asked for the key'))
    const { ask } = pipelineOf({ gate, backend: { describe } })
    const { status, json, record } = await ask(request)
    t.equal(status, 400)
    t.equal(json['errorName'], 'InvalidStateException')
    t.equal(record?.reason, 'KILLED_ALL')
    t.equal(gate.stats().inFlight, 0)
  }
})

void t.test(
  'a request that is killed in progress is refused when its answer is sent',
  async (t) => {
    for (const request of [METADATA, ENCRYPT, DECRYPT, HEALTH]) {
      const gate = openGate()
      const beforeRelease = () => {
        t.equal(gate.stats().inFlight, 1)
        gate.apply(KILL_ALL, 2)
      }
      const { ask } = pipelineOf({ gate, beforeRelease })
      const { status, json, record } = await ask(request)
      t.equal(status, 400)
      t.same(Object.keys(json).sort(), ['errorMessage', 'errorName'])
      t.equal(json['errorName'], 'InvalidStateException')
      t.match(record, { status: 400, errorName: 'InvalidStateException', reason: 'KILLED_ALL' })
      t.equal(gate.stats().inFlight, 0)
    }
  },
)

void t.test('a response that is sent after its lease ended is reported', async (t) => {
  for (const held of [true, false]) {
    const gate = openGate()
    // Simulates a process that is suspended between the check and the response.
    const beforeSent = held
      ? undefined
      : () => {
          gate.renew(-3_600_000)
        }
    const { ask, late } = pipelineOf({ gate, ...(beforeSent === undefined ? {} : { beforeSent }) })
    t.equal((await ask(ENCRYPT)).status, 200)
    t.match(late, held ? [] : [{ operation: 'Encrypt', keyStore: 'demo', keyId: 'key' }])
    t.equal(gate.stats().lateAnswers, held ? 0 : 1)
  }
})

void t.test('a request that fails for another reason leaves nothing in flight', async (t) => {
  const gate = openGate()
  const { ask } = pipelineOf({ gate, backend: { describe: never }, deadlineMs: DEADLINE_MS })
  t.equal((await ask(ENCRYPT)).json['errorName'], 'DependencyTimeoutException')
  t.equal(gate.stats().inFlight, 0)
})

void t.test('a blocked key is DISABLED for GetKeyMetadata, and nothing else changes', async (t) => {
  const gate = openGate()
  gate.apply(
    createRules([
      {
        ...{ id: 'a', direction: 'both', reason: 'r', operator: 'o', createdAt: 0, epoch: 2 },
        scope: { kind: 'key', keyStore: 'demo', keyId: 'key' },
      },
    ]),
    2,
  )
  const { ask } = pipelineOf({ gate })
  const { status, json } = await ask(METADATA)
  t.equal(status, 200)
  t.same(json, { keySpec: 'AES_256', keyUsage: ['ENCRYPT', 'DECRYPT'], keyStatus: 'DISABLED' })
  t.equal((await ask(DECRYPT)).record?.reason, 'KILLED_KEY')
  t.equal((await ask(HEALTH)).status, 200)
})

void t.test(
  'if policies change during a request, the new ones decide when the response is sent',
  async (t) => {
    const forbid = await preparePolicies({
      ...{ revision: 1, shadow: undefined },
      enforced: new Map([['main', '@id("never") forbid(principal, action, resource);']]),
    })
    for (const request of [METADATA, ENCRYPT, DECRYPT]) {
      const gate = openGate()
      const authorizer = createAuthorizer()
      const beforeRelease = () => {
        authorizer.apply(forbid)
      }
      const { ask } = pipelineOf({ gate, authorizer, beforeRelease })
      const { status, json, record } = await ask(request)
      t.match(json, { errorName: 'AccessDeniedException' })
      t.match(record, { status: 403, reason: 'POLICY_RECHECK' })
      t.equal(status, 403)
      t.match(gate.stats(), { inFlight: 0, lastSuccessAt: undefined })
      const again = await ask(request)
      t.match(again.record, { reason: 'POLICY_FORBID', policies: ['never'], policyRevision: 1 })
      t.equal(gate.stats().inFlight, 0)
    }
    const authorizer = createAuthorizer()
    authorizer.apply(forbid)
    t.equal(
      (await pipelineOf({ authorizer }).ask(HEALTH)).status,
      200,
      'health is never asked about',
    )
  },
)
