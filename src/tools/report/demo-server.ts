/** Starts a demo proxy in a temporary folder and a separate process, for a report without an endpoint. */
// SPDX-License-Identifier: Apache-2.0
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { LatchkeyError } from '../../core/errors.ts'
import { Secret } from '../../core/secret.ts'
import { prepareDemo, readCredential, type Demo } from '../demo/demo.ts'
import type { Remote } from '../../terminal/flags/remote.ts'

export interface DemoServer {
  readonly remote: Remote
  readonly configFile: string
  stop(): Promise<void>
}

const MAIN = fileURLToPath(new URL('../../main.js', import.meta.url))
const REGION = 'us-east-1'

/** @param onLine called with each line of the server's log */
export async function startDemoServer(onLine: (line: string) => void): Promise<DemoServer> {
  const folder = await mkdtemp(join(tmpdir(), 'latchkey-report-'))
  try {
    const demo = await prepareDemo(folder, 0)
    const child = spawn(process.execPath, [MAIN, 'serve', '--config', demo.configFile], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const port = await listeningPort(child, onLine)
    return {
      remote: await remoteOf(demo, port),
      configFile: demo.configFile,
      async stop() {
        const ended = once(child, 'close')
        child.kill('SIGTERM')
        await ended
        await rm(folder, { recursive: true, force: true })
      },
    }
  } catch (error) {
    await rm(folder, { recursive: true, force: true })
    throw error
  }
}

async function listeningPort(child: ChildProcess, onLine: (line: string) => void): Promise<number> {
  const { stdout } = child
  if (stdout === null) throw new TypeError('the server has no output')
  return new Promise((resolve, reject) => {
    createInterface({ input: stdout }).on('line', (line) => {
      if (line.includes('"msg":"listening"')) resolve((JSON.parse(line) as { port: number }).port)
      onLine(line)
    })
    child.once('error', reject)
    child.once('close', () => {
      reject(
        new LatchkeyError('REPORT_FAILED', 'the demo server exited before it started to listen'),
      )
    })
  })
}

async function remoteOf(demo: Demo, port: number): Promise<Remote> {
  const { accessKeyId, secretAccessKey } = await readCredential(demo)
  return {
    endpoint: { host: 'localhost', port, ca: await readFile(demo.caFile, 'utf8') },
    hostHeader: `localhost:${String(port)}`,
    uriPath: demo.uriPath,
    keyId: demo.keyId,
    credential: { accessKeyId, secretAccessKey: new Secret(secretAccessKey), region: REGION },
  }
}
