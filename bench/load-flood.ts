/**
 * Sends junk at full speed: writes as much as each connection accepts, and replaces connections that the server closes.
 */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import { setPriority } from 'node:os'
import { connect } from 'node:tls'

export interface FloodPlan {
  readonly port: number
  readonly caFile: string
  readonly connections: number
  /** Data to write repeatedly. */
  readonly junk: string
}

export interface FloodResult {
  /** Number of connections opened. */
  readonly connections: number
  readonly megabytes: string
}

/** A nice value that gives priority to the legitimate caller, which shares the core. */
const PRIORITY = 10
const AGAIN_MS = 10

let isOver = false
let connections = 0
let bytes = 0

function flood(plan: FloodPlan, ca: Buffer, junk: Buffer): void {
  if (isOver) return
  const socket = connect({
    ...{ port: plan.port, host: '127.0.0.1', servername: 'localhost', ca },
    ALPNProtocols: ['http/1.1'],
  })
  const write = () => {
    while (!isOver && socket.writable) {
      bytes += junk.length
      if (!socket.write(junk)) return
    }
  }
  socket.on('secureConnect', () => {
    connections += 1
    write()
  })
  socket.on('drain', write)
  socket.on('data', () => undefined)
  socket.on('error', () => undefined)
  socket.on('close', () => {
    setTimeout(flood, AGAIN_MS, plan, ca, junk)
  })
}

process.on('message', (message) => {
  if (message === 'stop') {
    isOver = true
    const result: FloodResult = { connections, megabytes: (bytes / 1e6).toFixed(1) }
    process.send?.(result, () => {
      process.exit()
    })
    return
  }
  const plan = message as FloodPlan
  setPriority(PRIORITY)
  const [ca, junk] = [readFileSync(plan.caFile), Buffer.from(plan.junk)]
  for (let i = 0; i < plan.connections; i++) flood(plan, ca, junk)
})
