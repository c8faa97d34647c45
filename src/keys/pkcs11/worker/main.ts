/**
 * The worker process of a PKCS#11 module. It reads requests from a pipe, runs them sequentially,
 * and writes the responses. Calls block its only thread, because the module blocks anyway. The
 * process exits when its parent does, even while the module blocks.
 */
// SPDX-License-Identifier: Apache-2.0
import { readSync, writeSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { systemClock as clock } from '../../../core/clock.ts'
import type { Call, DiscardCall, ProbeCall, StartCall } from '../wire/calls.ts'
import { WorkerFailure, toWire, type Direction } from '../wire/errors.ts'
import { discard } from './discard.ts'
import { loadModule } from './module.ts'
import { probe } from './probe.ts'
import {
  CALL,
  decodeParts,
  DIGEST,
  DECRYPT,
  DONE,
  ENCRYPT,
  encodeFrame,
  FAILED,
  FrameReader,
  ProtocolError,
  RUNNING,
  VERIFY,
  type Frame,
} from '../wire/protocol.ts'
import { TokenWorkerProgram } from './token.ts'

const ORDERS_FD = 3
const CHUNK_BYTES = 256 * 1024
/** Maximum time in milliseconds to hold back responses while more requests are waiting. */
const HOLD_MS = 0.25

// The watchdog has the same extension as this file: .js in the build, .ts in the sources.
const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
new Worker(new URL(`./watchdog.${extension}`, import.meta.url))

// A signal that a terminal or systemd sends to the whole process group is meant for the parent,
// which drains first.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined)

let host: TokenWorkerProgram | undefined

type FirstCall = StartCall | ProbeCall | DiscardCall

async function start(call: FirstCall): Promise<unknown> {
  const module = await loadModule(call.module, call.parameters)
  if (call.call === 'probe') return probe(module, call, clock)
  if (call.call === 'discard') return discard(module, call, clock)
  host = new TokenWorkerProgram(module, call, clock)
  return host.open()
}

function started(): TokenWorkerProgram {
  if (host === undefined) throw new WorkerFailure('UNAVAILABLE', 'the token has not been opened')
  return host
}

const json = (value: unknown) => Buffer.from(JSON.stringify(value ?? null))

/** @returns the parts of the response body */
function carryOut({ kind, body }: Frame): readonly Buffer[] {
  if (kind === CALL) {
    return [json(started().call(JSON.parse(body.toString('utf8', 4)) as Exclude<Call, FirstCall>))]
  }
  const [head = NONE, ref = NONE, check = NONE, aad = NONE, first = NONE, second = NONE] =
    decodeParts(body)
  const endsAt = clock.monotonic() + head.readUInt16LE(0)
  const flags = head.readUInt8(2)
  const name = ref.toString('latin1')
  if (kind === ENCRYPT) {
    const made = started().encrypt(
      {
        ref: name,
        check,
        aad,
        plaintext: first,
        verify: (flags & VERIFY) !== 0,
        digestPrefix: (flags & DIGEST) === 0 ? undefined : second,
      },
      endsAt,
    )
    const verifyTime = Buffer.allocUnsafe(4)
    verifyTime.writeUInt32LE(toMicroseconds(made.verifyMs))
    return [made.iv, made.sealed, made.digest ?? NONE, verifyTime]
  }
  if (kind !== DECRYPT) throw new ProtocolError('received a request of an unknown kind')
  return [started().decrypt({ ref: name, check, aad, iv: first, sealed: second }, endsAt)]
}

const NONE = Buffer.alloc(0)

function toMicroseconds(ms: number): number {
  return Math.min(0xffff_ffff, Math.round(ms * 1000))
}

function answer(frame: Frame): Buffer {
  const startedAt = clock.monotonic()
  try {
    return encodeAnswer(DONE, frame.id, startedAt, carryOut(frame))
  } catch (error) {
    const direction: Direction =
      frame.kind === ENCRYPT || frame.kind === CALL ? 'encrypt' : 'decrypt'
    return encodeAnswer(FAILED, frame.id, startedAt, [json(toWire(error, direction))])
  }
}

function encodeAnswer(
  kind: number,
  id: number,
  startedAt: number,
  parts: readonly Buffer[],
): Buffer {
  const time = Buffer.allocUnsafe(4)
  time.writeUInt32LE(toMicroseconds(clock.monotonic() - startedAt))
  return encodeFrame(kind, id, [time, ...parts])
}

/**
 * Reads frames until the pipe closes, which happens when the parent exits or wants this process to
 * exit.
 */
function* readFrames(): Generator<readonly Frame[], void> {
  const reader = new FrameReader()
  const chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES)
  for (;;) {
    const bytes = readSync(ORDERS_FD, chunk)
    if (bytes === 0) return
    yield reader.take(chunk.subarray(0, bytes))
  }
}

function write(bytes: Buffer): void {
  for (let at = 0; at < bytes.length;) at += writeSync(ORDERS_FD, bytes, at)
}

async function serve(): Promise<void> {
  for (const frames of readFrames()) {
    let held: Buffer[] = []
    let heldSince = clock.monotonic()
    for (const frame of frames) {
      held.push(host === undefined ? await answerStart(frame) : answer(frame))
      const now = clock.monotonic()
      if (now - heldSince < HOLD_MS) continue
      write(Buffer.concat(held))
      held = []
      heldSince = now
    }
    if (held.length > 0) write(Buffer.concat(held))
  }
}

/** Handles the first request. No other request arrives before it has succeeded. */
async function answerStart(frame: Frame): Promise<Buffer> {
  const time = Buffer.alloc(4)
  try {
    const facts = await start(JSON.parse(frame.body.toString('utf8', 4)) as FirstCall)
    return encodeFrame(DONE, frame.id, [time, json(facts)])
  } catch (error) {
    host = undefined
    return encodeFrame(FAILED, frame.id, [time, json(toWire(error, 'encrypt'))])
  }
}

write(encodeFrame(RUNNING, 0, []))
await serve().catch((error: unknown) => {
  // After a ProtocolError, messages from the parent cannot be read, so this process exits and the
  // parent starts another.
  if (!(error instanceof ProtocolError)) throw error
})
process.exit(0)
