/** Runs `latchkey serve` as a process, as an operator would, using a test server's store and client. */
// SPDX-License-Identifier: Apache-2.0
import type { ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import type { Test } from 'tap'
import { startLatchkey, type Running } from './cli.ts'
import { eventually, startTestServer, type TestServer, type TestServerOptions } from './server.ts'

type Line = Readonly<Record<string, unknown>>

export interface Program {
  /** A test server object with the port that the process chose. The object's own server is not running. */
  readonly server: TestServer
  readonly running: Running
  readonly child: ChildProcess
  /** Returns the log's complete lines. */
  lines(): readonly Line[]
  linesOf(msg: string): readonly Line[]
}

/**
 * Starts a process that is killed when the test ends.
 * @param nodeFlags flags for Node.js itself
 */
export async function serveProgram(
  t: Test,
  config: TestServerOptions['config'] = {},
  nodeFlags: readonly string[] = [],
): Promise<Program> {
  const server = await startTestServer(t, { stopped: true, config })
  const running = startLatchkey(t, ['serve', '--config', server.configFile], { nodeFlags })
  const lines = () =>
    running
      .stdout()
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Line)
  const linesOf = (msg: string) => lines().filter((line) => line['msg'] === msg)
  await running.shows(/"listening"\}\n/)
  const port = Number(linesOf('listening')[0]?.['port'])
  const remote = Object.create(server, { port: { value: port } }) as TestServer
  return { server: remote, running, child: running.process, lines, linesOf }
}

/** Returns whether the process exists and is not a zombie. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** @throws if one of the processes still exists after half a minute */
export function untilGone(pids: readonly number[]): Promise<void> {
  return eventually(() => !pids.some(isAlive))
}

/** Waits until the process has this many children, and returns their process ids. */
export async function workersOf({ child }: Program, count: number): Promise<readonly number[]> {
  const pid = String(child.pid)
  const find = () =>
    readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)
  await eventually(() => find().length === count)
  return find()
}
