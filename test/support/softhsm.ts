/** A SoftHSM token in a folder of its own, and keys on it as `backends` has them. */
// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { openBackend } from '../../src/backend/create.ts'
import type { Pkcs11Keys } from '../../src/backend/pkcs11/pkcs11-keys.ts'
import { systemClock } from '../../src/base/clock.ts'
import { Secret } from '../../src/base/secret.ts'
import type { Pkcs11BackendConfig } from '../../src/config/config.ts'

/** Debian's; it is on every machine that runs the tests (.ci/check.mjs). */
export const SOFTHSM_MODULE = '/usr/lib/softhsm/libsofthsm2.so'
export const PIN = '2468-test-pin'
export const LABEL = 'latchkey-test'
const run = promisify(execFile)

export interface SoftHsm {
  readonly folder: string
  readonly environment: Readonly<Record<string, string>>
  /** Mode 0600. */
  readonly pinFile: string
  /** Another token with this label, and the same PIN. */
  addToken(label: string): Promise<void>
}

export async function createSoftHsm(t: Test): Promise<SoftHsm> {
  const folder = await mkdtemp(join(tmpdir(), 'latchkey-softhsm-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  await mkdir(join(folder, 'tokens'), { recursive: true })
  const conf = join(folder, 'softhsm2.conf')
  await writeFile(
    conf,
    `directories.tokendir = ${join(folder, 'tokens')}\nobjectstore.backend = file\nlog.level = ERROR\n`,
  )
  const pinFile = join(folder, 'pin')
  await writeFile(pinFile, `${PIN}\n`, { mode: 0o600 })
  const environment = { PATH: process.env['PATH'] ?? '', SOFTHSM2_CONF: conf }
  const softhsm: SoftHsm = {
    folder,
    environment,
    pinFile,
    async addToken(label) {
      const words = ['--init-token', '--free', '--label', label, '--so-pin', '13579', '--pin', PIN]
      await run('softhsm2-util', words, { env: environment })
    },
  }
  await softhsm.addToken(LABEL)
  return softhsm
}

export function softHsmConfig(
  { environment }: SoftHsm,
  more: Partial<Pkcs11BackendConfig> = {},
): Pkcs11BackendConfig {
  return {
    kind: 'pkcs11',
    name: 'hsm',
    module: SOFTHSM_MODULE,
    environment,
    tokens: [{ label: LABEL, pin: new Secret(PIN) }],
    sessions: { min: 1, max: 2 },
    maxQueued: 256,
    // A loaded machine is no slow HSM.
    deadlines: { operationMs: 5000, startMs: 60_000, stuckMs: 1000 },
    heartbeatMs: 20_000,
    iv: 'host',
    keys: { by: 'label', refreshMs: 60_000 },
    healthKey: 'latchkey health',
    verifyEveryEncrypt: true,
    functionFailedIsBusy: false,
    ...more,
  }
}

/** Closed with the test. */
export async function openTestKeys(t: Test, config: Pkcs11BackendConfig): Promise<Pkcs11Keys> {
  const silent = () => undefined
  const keys = await openBackend({
    config,
    clock: systemClock,
    logger: { info: silent, warn: silent },
    selfTest: { plaintextBytes: 4300, aadBytes: 8200 },
  })
  t.teardown(() => {
    keys.close()
  })
  return keys
}
