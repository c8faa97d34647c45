/**
 * Measures how junk traffic affects a legitimate caller that sends 200 valid requests per second in an open loop.
 * Compares runs with and without eight connections that send unsigned or wrongly signed requests at full speed. Starts
 * a server, or uses one that is already running.
 */
// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { readCredential } from '../src/tools/demo/demo.ts'
import type { FloodPlan, FloodResult } from './load-flood.ts'
import type { PhaseResult } from './load-open.ts'
import { type SignFor, encryptBody, signedRequest } from './requests.ts'
import {
  CLIENT_CORE,
  runLoad,
  runOpen,
  SERVER_CORE,
  startLatchkey,
  startPinned,
} from './servers.ts'
import { prepareWorkplace } from './workplace.ts'

const { values } = parseArgs({
  options: {
    rate: { type: 'string', default: '200' },
    seconds: { type: 'string', default: '10' },
    connections: { type: 'string', default: '4' },
    flooders: { type: 'string', default: '8' },
    // Use a server that is already running, such as another version of Latchkey. These flags set its port, KMS console
    // credential, key id and CA.
    port: { type: 'string' },
    credential: { type: 'string', default: '' },
    'key-id': { type: 'string', default: 'demo-key' },
    ca: { type: 'string', default: '' },
  },
})
const DEADLINE = '200ms'
const REQUESTS = 256
const WARM_UP_S = 4
const JUNK_AT_A_TIME = 500

interface Target {
  readonly port: number
  readonly caFile: string
  readonly signer: SignFor
}

interface ConsoleFile {
  readonly XksProxyAuthenticationCredential: {
    readonly AccessKeyId: string
    readonly RawSecretAccessKey: string
  }
}

/** Returns the running server named by the flags. */
async function findPeer(port: string): Promise<Target> {
  const file = JSON.parse(await readFile(values.credential, 'utf8')) as ConsoleFile
  const { AccessKeyId, RawSecretAccessKey } = file.XksProxyAuthenticationCredential
  const signer = { accessKeyId: AccessKeyId, secretAccessKey: RawSecretAccessKey }
  return { port: Number(port), caFile: values.ca, signer: { ...signer, keyId: values['key-id'] } }
}

async function withOwnServer(use: (target: Target) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'latchkey-bench-'))
  try {
    const { demo, caFile } = await prepareWorkplace(folder, DEADLINE)
    const server = await startLatchkey([demo.configFile, join(folder, 'server.log')], SERVER_CORE)
    try {
      const signer = { ...(await readCredential(demo)), keyId: demo.keyId }
      await use({ port: server.port, caFile, signer })
    } finally {
      await server.stop()
    }
  } finally {
    await rm(folder, { recursive: true })
  }
}

async function measure({ port, caFile, signer }: Target): Promise<void> {
  const path = `/keys/${signer.keyId}/encrypt`
  const sign = (by: SignFor) => signedRequest(path, encryptBody(), by)
  const requests = Array.from({ length: REQUESTS }, () => sign(signer))
  const connections = Number(values.connections)
  const at = { port, caFile, connections }
  await runLoad({ ...at, requests, seconds: WARM_UP_S })
  const unsigned = 'POST /demo/kms/xks/v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n'
  const kinds: readonly (readonly [string, string | undefined])[] = [
    ['alone', undefined],
    ['unsigned', unsigned],
    ['wrong signatures', sign({ ...signer, secretAccessKey: 'x'.repeat(44) })],
  ]
  for (const [name, junk] of kinds) {
    const flood = junk === undefined ? undefined : startFlood({ port, caFile, junk })
    const phases = [{ rate: Number(values.rate), seconds: Number(values.seconds) }]
    const [result] = await runOpen({ ...at, requests, phases })
    const junked = await flood?.stop()
    if (result !== undefined) process.stdout.write(`${render(name, result, junked)}\n`)
  }
}

function startFlood(at: Pick<FloodPlan, 'port' | 'caFile'> & { readonly junk: string }) {
  const child = startPinned(CLIENT_CORE, 'load-flood', [])
  const plan: FloodPlan = {
    ...at,
    connections: Number(values.flooders),
    junk: at.junk.repeat(JUNK_AT_A_TIME),
  }
  child.send(plan)
  return {
    async stop(): Promise<FloodResult> {
      child.send('stop')
      const [result] = (await once(child, 'message')) as [FloodResult]
      return result
    },
  }
}

function render(name: string, result: PhaseResult, junk?: FloodResult): string {
  const { due, inTime, statuses, unanswered, ms } = result
  const share = ((100 * inTime) / due).toFixed(1)
  // If no request got a response, there are no latencies.
  const times =
    unanswered === due ? 'none' : `p50 ${ms.p50.toFixed(1)} ms, p99 ${ms.p99.toFixed(1)} ms`
  const junked =
    junk === undefined
      ? ''
      : `; junk: ${String(junk.connections)} connections, ${junk.megabytes} MB`
  return `${name}: ${share} % of ${String(due)} served within 250 ms, ${times}, ${String(unanswered)} unanswered, ${JSON.stringify(statuses)}${junked}`
}

if (values.port === undefined) await withOwnServer(measure)
else await measure(await findPeer(values.port))
