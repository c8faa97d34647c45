/** Makes an HSM hang under load, and checks what KMS receives during the hang and how quickly the server recovers. */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import type { KmsSideClient } from '../../src/kms/client/client.ts'
import { latchkey } from '../support/cli.ts'
import { withFaults } from '../support/pkcs11/fault-module.ts'
import {
  HSM_KEY,
  SOFTWARE_KEY,
  startHsmServer,
  type HsmServer,
} from '../support/pkcs11/hsm-server.ts'
import { percentile } from '../support/pkcs11/mixed-load.ts'
import { createSoftHsm, createTokenKeys } from '../support/pkcs11/tokens.ts'
import { KILLED, eventually } from '../support/server.ts'

export interface HangPlan {
  readonly hangMs: number
  /** Requests per second for each of the two key stores. */
  readonly requestsPerSecond: number
  /** KMS's timeout. */
  readonly budgetMs: number
  /** Maximum time from the end of the hang to the first success, in milliseconds. */
  readonly recoveryMs: number
  /** Whether to enforce the limits exactly, without an allowance for a slow machine. */
  readonly isExact?: boolean
}

const TIMEOUT_MS = 120_000
/** Errors that KMS treats as temporary. */
const MAY_BE_SENT_AGAIN: ReadonlySet<string> = new Set([
  'DependencyTimeoutException',
  'InternalException',
  'ThrottlingException',
])
const ADMIN_TOKEN = 'latchkey_of_a_test'
const ADMIN = {
  port: 0,
  tokens: [
    {
      name: 'test',
      role: 'admin',
      sha256: createHash('sha256').update(ADMIN_TOKEN).digest('hex'),
    },
  ],
}
const PLAINTEXT = Buffer.alloc(32, 7)

interface Sent {
  readonly ms: number
  readonly status: number
  readonly errorName: string | undefined
}

/** Sends requests at a constant rate, regardless of when responses arrive. */
async function sendSteadily(
  client: KmsSideClient,
  keyId: string,
  perSecond: number,
  forMs: number,
): Promise<readonly Sent[]> {
  const sent: Promise<Sent>[] = []
  const startedAt = performance.now()
  while (performance.now() - startedAt < forMs) {
    const due = Math.floor(((performance.now() - startedAt) / 1000) * perSecond)
    while (sent.length <= due) sent.push(sendOne(client, keyId))
    await delay(2)
  }
  return Promise.all(sent)
}

async function sendOne(client: KmsSideClient, keyId: string): Promise<Sent> {
  const startedAt = performance.now()
  const { status, body } = await client.encrypt(keyId, { plaintext: PLAINTEXT, cdiv: true })
  const { errorName } = body as { errorName?: string }
  return { ms: performance.now() - startedAt, status, errorName }
}

const ascending = (sent: readonly Sent[]) => sent.map(({ ms }) => ms).sort((a, b) => a - b)

export async function hang(t: Test, plan: HangPlan): Promise<void> {
  t.setTimeout(TIMEOUT_MS)
  const token = await withFaults(t, await createSoftHsm(t))
  await createTokenKeys(t, token, [{ label: HSM_KEY }])
  const server = await startHsmServer(t, token, { config: { admin: ADMIN, control: KILLED } })
  const { hsm, software, running } = server
  await eventually(async () => (await sendOne(hsm, HSM_KEY)).status === 200)
  const { requestsPerSecond: rate } = plan
  await sendSteadily(hsm, HSM_KEY, rate, 1000)

  token.control.hang('until told')
  const [stuck, beside] = await Promise.all([
    sendSteadily(hsm, HSM_KEY, rate, plan.hangMs),
    sendSteadily(software, SOFTWARE_KEY, rate, plan.hangMs),
    healthBecomes('UNAVAILABLE', hsm).then(() => t.pass('health says UNAVAILABLE')),
  ])
  await checkKillSwitch(t, server)
  await checkAdmin(t, server)
  token.control.hang('no more')
  const endedAt = performance.now()
  await eventually(async () => (await sendOne(hsm, HSM_KEY)).status === 200)
  const recoveredAfterMs = performance.now() - endedAt

  const [slow, quick] = [ascending(stuck), ascending(beside)]
  const ms = (list: readonly number[], share: number) => percentile(list, share).toFixed(1)
  t.comment(
    `${String(slow.length)} answers of the HSM that hung: median ${ms(slow, 0.5)} ms,`,
    `p99.9 ${ms(slow, 0.999)} ms, max ${ms(slow, 1)} ms;`,
    `software keys beside it: p99.9 ${ms(quick, 0.999)} ms;`,
    `first success ${recoveredAfterMs.toFixed(0)} ms after the end`,
  )
  const names = new Set(stuck.map(({ errorName }) => String(errorName)))
  for (const name of names) t.ok(MAY_BE_SENT_AGAIN.has(name), name)
  const served = beside.filter(({ status }) => status === 200)
  // On a busy machine, the server may throttle more of these requests.
  const share = plan.isExact === true ? 0.95 : 0.5
  t.ok(served.length >= beside.length * share, 'the other key store goes on')
  const others = beside.filter(({ status }) => status !== 200)
  // Latchkey throttles requests if the machine cannot keep up with this test.
  t.ok(others.every(({ errorName }) => errorName === 'ThrottlingException'))
  // Requests that need no HSM show how much latency the machine itself adds.
  const machineMs = plan.isExact === true ? 0 : percentile(quick, 0.999)
  const budgetMs = plan.budgetMs + machineMs
  t.ok(percentile(slow, 0.999) < budgetMs, `below ${budgetMs.toFixed(0)} ms`)
  if (plan.isExact === true) t.ok(recoveredAfterMs < plan.recoveryMs, 'it is back in time')
  await healthBecomes('ACTIVE', hsm)
  t.equal(running.process.exitCode, null, 'it is the same process')
}

/** Checks that the kill switch works while the HSM hangs. */
async function checkKillSwitch(t: Test, { hsm, folder }: HsmServer): Promise<void> {
  const run = async (...words: readonly string[]) => {
    const { code, stdout, stderr } = await latchkey(t, [...words, '--json'], { cwd: folder })
    t.equal(code, 0, `latchkey ${words.join(' ')} ${stderr}`)
    return JSON.parse(stdout) as Record<string, unknown>
  }
  const reason = ['--key-store', 'hsm', '--reason', 'the HSM hangs']
  t.match(await run('status'), { switches: [] })
  const { state, elapsedMs } = await run('kill', ...reason)
  t.equal(state, 'revoked')
  const { ms, errorName } = await sendOne(hsm, HSM_KEY)
  t.equal(errorName, 'InvalidStateException', 'at once, and not for the HSM')
  t.comment(`kill took ${String(elapsedMs)} ms, the answer after it ${ms.toFixed(1)} ms`)
  await run('restore', ...reason, '--yes')
}

/** Checks that the admin listener responds while its process waits for the HSM, which hangs until released. */
async function checkAdmin(t: Test, { hsm, adminPort }: HsmServer): Promise<void> {
  const call = async (path: string, body?: object) => {
    const startedAt = performance.now()
    const response = await fetch(`http://127.0.0.1:${String(adminPort)}${path}`, {
      ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
      headers: { authorization: `Bearer ${ADMIN_TOKEN}`, 'content-type': 'application/json' },
    })
    t.equal(response.status, 200, path)
    const answer = (await response.json()) as Record<string, unknown>
    return { answer, ms: performance.now() - startedAt }
  }
  const scope = { kind: 'key-store', keyStore: 'hsm' }
  const stopping = sendOne(hsm, HSM_KEY)
  const status = await call('/admin/v1/status')
  const stop = await call('/admin/v1/switches', { scope, reason: 'the HSM hangs' })
  t.match(stop.answer, { state: 'revoked', instances: [{ how: 'acknowledged' }] })
  t.not((await stopping).status, 200)
  t.equal((await sendOne(hsm, HSM_KEY)).errorName, 'InvalidStateException')
  t.comment(`admin: status in ${status.ms.toFixed(1)} ms, kill in ${stop.ms.toFixed(1)} ms`)
  await call('/admin/v1/restorations', { scope, reason: 'seen' })
}

async function healthBecomes(status: string, client: KmsSideClient): Promise<void> {
  await eventually(async () => {
    const { body } = await client.getHealthStatus()
    const fleet = (body as { ekmFleetDetails?: readonly { healthStatus: string }[] })
      .ekmFleetDetails
    return fleet?.[0]?.healthStatus === status
  })
}
