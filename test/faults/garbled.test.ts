/** Tests a PKCS#11 module process that writes garbage to its pipe: the process is killed, and the server survives. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { WorkerProcess } from '../../src/keys/pkcs11/pool/worker-process.ts'
import type { StartCall } from '../../src/keys/pkcs11/wire/calls.ts'
import { DONE, encodeFrame, FAILED } from '../../src/keys/pkcs11/wire/protocol.ts'
import { HSM_KEY, SOFTWARE_KEY, startHsmServer } from '../support/pkcs11/hsm-server.ts'
import { createSoftHsm, createTokenKeys } from '../support/pkcs11/tokens.ts'
import { eventually } from '../support/server.ts'

t.setTimeout(120_000)

const START = { call: 'start', module: 'none' } as unknown as StartCall
const TIME = Buffer.alloc(4)
const json = (value: unknown) => Buffer.from(JSON.stringify(value))
/** Builds a frame with a forged length. */
const withLength = (length: number) => {
  const frame = encodeFrame(DONE, 1, [TIME])
  frame.writeUInt32LE(length, 0)
  return frame
}
const withPart = (length: number) => {
  const frame = encodeFrame(DONE, 1, [TIME, json({})])
  frame.writeUInt32LE(length, 17)
  return frame
}

/** Bytes that replace the response to the first request, which has id 1. */
const GARBAGE: Readonly<Record<string, Buffer>> = {
  'a frame of 4 GB': withLength(0xffff_ffff),
  'a frame that is a little too long': withLength(32 * 1024 * 1024 + 1),
  'a frame of no length': withLength(0),
  'a frame shorter than its head': withLength(4),
  'a part longer than its frame': withPart(0xffff_fff0),
  'a part one byte too long': withPart(json({}).length + 1),
  'half a length of a part': encodeFrame(DONE, 1, []).fill(0, 9),
  'no time': encodeFrame(DONE, 1, [Buffer.alloc(3), json(null)]),
  'no value': encodeFrame(DONE, 1, [TIME]),
  'no JSON': encodeFrame(DONE, 1, [TIME, Buffer.from('{"label"')]),
  'another value': encodeFrame(DONE, 1, [TIME, json({ label: 7 })]),
  'a failure that is none': encodeFrame(FAILED, 1, [TIME, json({ code: 'NOTHING', message: 'x' })]),
  'a failure without a word': encodeFrame(FAILED, 1, [TIME]),
  'an unknown kind': encodeFrame(9, 1, [TIME, json(null)]),
  'received a response to an unknown request': encodeFrame(DONE, 77, [TIME, json(null)]),
  'text of a library': Buffer.from('WARNING: token is about to expire\n'),
}

/** Returns the Node.js option for a preload script that writes the bytes to the pipe as soon as the process starts. */
const writing = (bytes: Buffer) => {
  const script = `import { writeSync } from 'node:fs'; writeSync(3, Buffer.from('${bytes.toString('hex')}', 'hex'))`
  return `--import=data:text/javascript,${encodeURIComponent(script)}`
}

for (const [name, bytes] of Object.entries(GARBAGE)) {
  void t.test(`${name} ends the process`, async (t) => {
    const child = new WorkerProcess({ NODE_OPTIONS: writing(bytes) })
    t.teardown(() => {
      child.kill()
    })
    const ended = new Promise((resolve) => (child.onEnd = resolve))
    const failure: unknown = await child.start(START).catch((error: unknown) => error)
    t.match(failure, { name: 'TokenError', wire: { code: 'UNAVAILABLE' } })
    t.match(await ended, { message: /sent an invalid response/ })
    t.equal(child.size, 0, 'nobody waits for it')
  })
}

/** Preload script that corrupts one response. The response's position differs from process to process. */
const DAMAGING = `
  import fs from 'node:fs'
  import { syncBuiltinESMExports } from 'node:module'
  const write = fs.writeSync
  let left = 3 + (process.pid % 7)
  fs.writeSync = (fd, bytes, ...rest) => {
    if (fd === 3 && left-- === 0) bytes[process.pid % Math.min(24, bytes.length)] ^= 1 << (process.pid % 8)
    return write(fd, bytes, ...rest)
  }
  syncBuiltinESMExports()
`

void t.test('under load, with processes that corrupt occasional responses', async (t) => {
  const token = await createSoftHsm(t)
  await createTokenKeys(t, token, [{ label: HSM_KEY }])
  const garbling = `--import=data:text/javascript,${encodeURIComponent(DAMAGING)}`
  const server = await startHsmServer(
    t,
    { ...token, environment: { ...token.environment, NODE_OPTIONS: garbling } },
    { config: { limits: { requestDeadline: '5s' } } },
  )
  const { hsm, software, running } = server
  const input = { plaintext: Buffer.alloc(32, 7), cdiv: true }
  const statuses = new Map<number, number>()
  for (let i = 0; i < 60; i++) {
    const [answer, other] = await Promise.all([
      hsm.encrypt(HSM_KEY, input),
      software.encrypt(SOFTWARE_KEY, input),
    ])
    statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1)
    t.equal(other.status, 200, 'the other key store is served')
  }
  t.ok(statuses.has(200), JSON.stringify([...statuses]))
  await eventually(async () => (await hsm.encrypt(HSM_KEY, input)).status === 200)
  t.equal(running.process.exitCode, null, 'and the same server')
})
