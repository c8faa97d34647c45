/** Runs tinyproxy, a forward proxy, for the duration of a test. */
// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { eventually } from './server.ts'

export interface ForwardProxy {
  /** Proxy URL with a user and a password, in the format of HTTPS_PROXY. */
  readonly url: string
  /** Returns the targets of the tunnels that clients requested. */
  targets(): readonly string[]
}

/** @param allowedPort the only port that the proxy connects to */
export async function startForwardProxy(t: Test, allowedPort: number): Promise<ForwardProxy> {
  const folder = await mkdtemp(join(tmpdir(), 'latchkey-proxy-'))
  const port = await findFreePort()
  const file = join(folder, 'tinyproxy.conf')
  const lines = [
    ...[`Port ${String(port)}`, 'Listen 127.0.0.1', 'Allow 127.0.0.1', 'LogLevel Connect'],
    ...[
      `ConnectPort ${String(allowedPort)}`,
      'BasicAuth user pass-word',
      'Timeout 60',
      'MaxClients 20',
    ],
  ]
  await writeFile(file, `${lines.join('\n')}\n`)
  const child = spawn('tinyproxy', ['-d', '-c', file], { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (output += text))
  child.once('error', (error) => (output += error.message))
  t.teardown(async () => {
    child.kill('SIGKILL')
    await rm(folder, { recursive: true, force: true })
  })
  await eventually(() => accepts(port)).catch(() => {
    throw new Error(`tinyproxy does not listen: ${output}`)
  })
  return {
    url: `http://user:pass-word@127.0.0.1:${String(port)}`,
    targets: () => [...output.matchAll(/CONNECT ([^ ]+) HTTP/g)].map(([, target = '']) => target),
  }
}

async function findFreePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => {
      resolve(false)
    })
  })
}
