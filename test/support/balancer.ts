/** Runs a real HAProxy, with its own configuration, in front of the server for the duration of a test. */
// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { eventually } from './server.ts'

interface Balancer {
  readonly port: number
}

/** This maximum wait is generous, because the machine may be busy. */
const START_MS = 20_000

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** @param proxies returns the configuration sections after `defaults`, which bind the given port */
export function startHaproxy(t: Test, proxies: (port: number) => string): Promise<Balancer> {
  const render = (port: number) => `
global
  maxconn 256
defaults
  timeout connect 5s
  timeout client 60s
  timeout server 60s
${proxies(port)}`
  return startBalancer(t, 'haproxy', (file) => ['-db', '-f', file], render)
}

/**
 * @param program a file, or a name on the PATH. When the test ends, the program is stopped and its configuration is
 * deleted.
 */
export async function startBalancer(
  t: Test,
  program: string,
  args: (file: string) => readonly string[],
  render: (port: number, folder: string) => string,
): Promise<Balancer> {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-balancer-'))
  const port = await freePort()
  // Envoy requires this file extension; other programs ignore it.
  const file = join(folder, 'balancer.yaml')
  writeFileSync(file, render(port, folder))
  const child = spawn(program, args(file), { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
  }
  let failure: Error | undefined
  child.once('error', (error) => {
    failure = new Error(`${program} cannot be started`, { cause: error })
  })
  child.once('exit', (code) => {
    failure ??= new Error(`${program} ended with ${String(code)}: ${output}`)
  })
  t.teardown(async () => {
    if (child.exitCode === null && child.signalCode === null) {
      const ended = once(child, 'exit')
      // SIGKILL would leave nginx's worker processes running.
      child.kill('SIGTERM')
      await ended
    }
    rmSync(folder, { recursive: true, force: true })
  })
  await eventually(async () => {
    if (failure !== undefined) throw failure
    return isOpen(port)
  }, START_MS)
  return { port }
}

async function isOpen(port: number): Promise<boolean> {
  const socket = net.connect({ port, host: '127.0.0.1' })
  return new Promise((resolve) => {
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => {
      resolve(false)
    })
  })
}
