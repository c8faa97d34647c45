/** Tests that a worker process that starts slowly, as on a busy machine, is not replaced prematurely. */
// SPDX-License-Identifier: Apache-2.0
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { enforceContract } from '../../src/keys/contract.ts'
import { encrypt, keyId } from '../../src/keys/suite/fixture.ts'
import { promised } from '../../src/keys/suite/promised-backend.ts'
import { backendConfig, openKeysOn } from '../support/pkcs11/backend-config.ts'
import { NO_RECORDS } from '../support/pkcs11/key-records.ts'
import { createSoftHsm, createTokenKeys } from '../support/pkcs11/tokens.ts'
import { eventually } from '../support/server.ts'

t.setTimeout(120_000)

/**
 * How long the worker is blocked, in milliseconds. This exceeds the time allowed for three starts that hang in the
 * module.
 */
const SLOW_MS = 5000

void t.test('no other process is started in its place', async (t) => {
  const token = await createSoftHsm(t)
  await createTokenKeys(t, token, [{ label: 'key' }])
  const folder = t.testdir()
  const open = join(folder, 'open')
  const preload = join(folder, 'preload.cjs')
  // Runs before the worker's program, and blocks the worker until the file `open` exists.
  writeFileSync(
    preload,
    `const { existsSync } = require('node:fs')
     const cell = new Int32Array(new SharedArrayBuffer(4))
     while (!existsSync(${JSON.stringify(open)})) Atomics.wait(cell, 0, 0, 20)`,
  )
  writeFileSync(open, '')
  const { environment } = backendConfig(token)
  const keys = await openKeysOn(t, token, {
    sessions: { min: 1, max: 1 },
    environment: { ...environment, NODE_OPTIONS: `--require ${preload}` },
  })
  const backend = promised(enforceContract(keys.backend('', NO_RECORDS)))
  const isServed = () =>
    encrypt({ backend } as never, keyId('key'), Buffer.alloc(32)).then(
      () => true,
      () => false,
    )
  await eventually(isServed)

  rmSync(open)
  const [before] = keys.pids()
  if (before === undefined) throw new Error('there is no process')
  process.kill(before, 'SIGKILL')
  await eventually(() => {
    const [now] = keys.pids()
    return Promise.resolve(now !== undefined && now !== before)
  })
  const started = keys.pids()
  t.equal(started.length, 1)
  await delay(SLOW_MS)
  t.strictSame(keys.pids(), started)

  writeFileSync(open, '')
  await eventually(isServed)
  t.strictSame(keys.pids(), started, 'and it serves')
})
