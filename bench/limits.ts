/**
 * Measures the responses that KMS would get at two loads: at KMS's quota, and above the proxy's capacity. Requests are
 * sent at a constant rate (open loop), with the default deadlines. Requires softhsm2. At the quota, the client shares
 * the cores with the proxy.
 */
// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { readCredential } from '../src/tools/demo/demo.ts'
import { configFileOf, softhsm } from './cases/softhsm.ts'
import type { OpenPlan } from './load-open.ts'
import { encryptBody, signedRequest } from './requests.ts'
import { runLoad, runOpen, startLatchkey, type RunningProcess } from './servers.ts'
import { holdToShare } from './share-of-core.ts'
import { prepareWorkplace, type Workplace } from './workplace.ts'

const { values } = parseArgs({
  options: {
    rate: { type: 'string', default: '1800' },
    seconds: { type: 'string', default: '60' },
    // Load factors relative to the software backend's capacity.
    overload: { type: 'string', default: '2' },
    only: { type: 'string', default: 'quota|overload' },
    // Number of connections. KMS opens as many as it needs and does not queue requests.
    connections: { type: 'string', default: '128' },
    // CPU share of the overloaded server, low enough that a client on another core can overload it.
    share: { type: 'string', default: '0.5' },
    cores: { type: 'string', default: '0,1' },
  },
})
const DEADLINE = '200ms'
const REQUESTS = 512
const WARM_UP_S = 4
const STEP_S = 3
const STEP = 0.05
const SERVED_SHARE = 0.95
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
    // If any response is an error, the client exits with 1, but still prints its figures.
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

/**
 * Measures the server under overload, with the client and the server each pinned to one core. Requests are signed
 * beforehand.
 */
async function overload(workplace: Workplace): Promise<void> {
  const { demo, caFile } = workplace
  const log = join(workplace.folder, 'software.log')
  const server = await startLatchkey([demo.configFile, log], '0')
  const share = Number(values.share)
  const release = share < 1 ? tryToHold(server.pid, share) : undefined
  const signer = { ...(await readCredential(demo)), keyId: demo.keyId }
  const requests = Array.from({ length: REQUESTS }, () =>
    signedRequest(`/keys/${demo.keyId}/encrypt`, encryptBody(), signer),
  )
  const at = { port: server.port, caFile, requests }
  try {
    await runLoad({ ...at, connections: 16, seconds: WARM_UP_S })
    const closed = await runLoad({ ...at, connections: 16, seconds: WARM_UP_S })
    const open = { ...at, connections: Number(values.connections) }
    // Warm up the server over these connections.
    await runOpen({ ...open, phases: [{ rate: Math.round(closed / 4), seconds: WARM_UP_S }] })
    const saturation = await findSaturation(open, closed)
    const rates = [saturation / 4, saturation * Number(values.overload), saturation / 2]
    const phases = rates.map((rate) => ({ rate: Math.round(rate), seconds: 10 }))
    const found = await runOpen({ ...open, phases })
    const title = `${closed.toFixed(0)}/s over 16 connections, saturated at ${saturation.toFixed(0)}/s`
    print(title, JSON.stringify(found, undefined, 1))
  } finally {
    await server.stop()
    release?.()
  }
}

/** Limits the server to a share of a core. Without root or control groups, the server gets an entire core. */
function tryToHold(pid: number, share: number): (() => void) | undefined {
  try {
    return holdToShare(pid, share)
  } catch (error) {
    process.stderr.write(`the server has a whole core: ${String(error)}\n`)
    return undefined
  }
}

/**
 * Raises the rate in steps of 5 % of the closed-loop rate, and returns the highest rate at which at most 5 % of the
 * requests are refused.
 */
async function findSaturation(open: Omit<OpenPlan, 'phases'>, closed: number): Promise<number> {
  let highest = 0
  for (let share = 0.5; share <= 1.5; share += STEP) {
    const rate = Math.round(closed * share)
    // The client is a new process in each step, so it needs to warm up.
    const phases = [rate / 4, rate].map((one) => ({ rate: one, seconds: STEP_S }))
    const [, found] = await runOpen({ ...open, phases })
    if ((found?.statuses['200'] ?? 0) < rate * STEP_S * SERVED_SHARE) break
    highest = rate
  }
  return highest
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
