/**
 * What KMS would see at its quota, and beyond what the proxy can do: constant rates, open loop, with the
 * deadlines that are the default. Needs softhsm2. At the quota, the client shares the cores with the proxy.
 */
// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { readCredential } from '../src/cli/demo.ts'
import { configFileOf, softhsm } from './cases/softhsm.ts'
import type { OpenPlan, PhaseResult } from './load-open.ts'
import { encryptBody, signedRequest } from './requests.ts'
import { runLoad, startLatchkey, startPinned, type RunningProcess } from './servers.ts'
import { prepareWorkplace, type Workplace } from './workplace.ts'

const { values } = parseArgs({
  options: {
    rate: { type: 'string', default: '1800' },
    seconds: { type: 'string', default: '60' },
    // Closed loop first, to learn what the software backend can do; then this many times that.
    overload: { type: 'string', default: '2' },
    only: { type: 'string', default: 'quota|overload' },
    // As many as are under way at a time: KMS opens what it needs, and does not queue.
    connections: { type: 'string', default: '1000' },
    cores: { type: 'string', default: '0,1' },
  },
})
const DEADLINE = '200ms'
const REQUESTS = 512
const WARM_UP_S = 4
const MAIN = fileURLToPath(new URL('../src/main.js', import.meta.url))
const run = promisify(execFile)

async function load(
  { demo }: Workplace,
  { port }: RunningProcess,
  flags: readonly string[],
): Promise<string> {
  const { stdout } = await run(process.execPath, [
    ...[MAIN, 'bench', '--endpoint', `https://localhost:${String(port)}${demo.uriPath}`],
    ...['--credential', demo.consoleFile, '--key-id', demo.keyId, '--ca', demo.caFile],
    ...flags,
  ]).catch((error: unknown) => {
    // Errors among the answers make it end with 1; the figures are there all the same.
    const { stdout = '' } = error as { stdout?: string }
    if (stdout === '') throw error
    return { stdout }
  })
  return stdout
}

const print = (title: string, found: string) => {
  process.stdout.write(`${title}\n${found}\n`)
}

async function quota(workplace: Workplace): Promise<void> {
  await softhsm.prepare?.(workplace)
  const log = join(workplace.folder, 'softhsm.log')
  const server = await startLatchkey([configFileOf(workplace), log], values.cores)
  try {
    await load(workplace, server, ['--rate', values.rate, '--duration', '3'])
    const flags = ['--rate', values.rate, '--duration', values.seconds]
    print('quota, SoftHSM2', await load(workplace, server, flags))
  } finally {
    await server.stop()
  }
}

/** Both pinned, one core each; requests are signed before. */
async function overload(workplace: Workplace): Promise<void> {
  const { demo, caFile } = workplace
  const log = join(workplace.folder, 'software.log')
  const server = await startLatchkey([demo.configFile, log], '0')
  const signer = { ...(await readCredential(demo)), keyId: demo.keyId }
  const requests = Array.from({ length: REQUESTS }, () =>
    signedRequest(`/keys/${demo.keyId}/encrypt`, encryptBody(), signer),
  )
  const at = { port: server.port, caFile, requests }
  try {
    await runLoad({ ...at, connections: 16, seconds: WARM_UP_S })
    const highest = await runLoad({ ...at, connections: 16, seconds: WARM_UP_S })
    const rates = [highest * Number(values.overload), highest / 2].map(Math.round)
    const phases = rates.map((rate) => ({ rate, seconds: 10 }))
    const found = await runOpen({ ...at, connections: Number(values.connections), phases })
    print(`saturated at ${highest.toFixed(0)}/s`, JSON.stringify(found, undefined, 1))
  } finally {
    await server.stop()
  }
}

async function runOpen(plan: OpenPlan): Promise<readonly PhaseResult[]> {
  const child = startPinned('1', 'load-open', [])
  child.send(plan)
  const [{ results, error }] = (await once(child, 'message')) as [
    { results?: readonly PhaseResult[]; error?: string },
  ]
  if (results === undefined) throw new Error(error ?? 'the client failed')
  return results
}

const folder = await mkdtemp(join(tmpdir(), 'latchkey-bench-'))
try {
  const workplace = await prepareWorkplace(folder, DEADLINE)
  const only = new RegExp(values.only)
  if (only.test('quota')) await quota(workplace)
  if (only.test('overload')) await overload(workplace)
} finally {
  await rm(folder, { recursive: true })
}
