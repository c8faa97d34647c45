/** Describes a test token as an entry in `backends`, both as the program's type and as YAML. */
// SPDX-License-Identifier: Apache-2.0
import type { Test } from 'tap'
import { type Logger, silentLogger } from '../../../src/core/logger.ts'
import { openBackend } from '../../../src/app/key-backends.ts'
import type { Pkcs11BackendConfig } from '../../../src/config/config.ts'
import { systemClock } from '../../../src/core/clock.ts'
import { Secret } from '../../../src/core/secret.ts'
import type { Pkcs11Keys } from '../../../src/keys/pkcs11/pkcs11-keys.ts'
import type { TestToken } from './tokens.ts'

export function backendConfig(
  token: TestToken,
  more: Partial<Pkcs11BackendConfig> = {},
): Pkcs11BackendConfig {
  return {
    kind: 'pkcs11',
    name: 'hsm',
    module: token.module,
    environment: { PATH: process.env['PATH'] ?? '', ...token.environment },
    ...(token.parameters === undefined ? {} : { parameters: `${token.parameters} ` }),
    tokens: [{ label: token.label, pin: new Secret(token.pin) }],
    sessions: { min: 1, max: 2 },
    maxQueued: 256,
    // The deadlines are long, so that a busy machine does not look like a slow HSM.
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

/**
 * Opens the token's keys, and closes them when the test ends.
 * @throws BackendError MISCONFIGURED
 */
export async function openKeysOn(
  t: Test,
  token: TestToken,
  more: Partial<Pkcs11BackendConfig> = {},
  logger: Logger = silentLogger,
): Promise<Pkcs11Keys> {
  const keys = await openBackend({
    config: backendConfig(token, more),
    clock: systemClock,
    logger,
    selfTest: { plaintextBytes: 4300, aadBytes: 8200 },
  })
  t.teardown(() => {
    keys.close()
  })
  return keys
}

/** Returns the entry as written in latchkey.yaml. */
export function backendYaml(token: TestToken, more: Readonly<Record<string, unknown>> = {}) {
  return {
    name: 'hsm',
    kind: 'pkcs11',
    module: token.module,
    environment: Object.entries(token.environment).map(([name, value]) => `${name}=${value}`),
    ...(token.parameters === undefined ? {} : { parameters: `${token.parameters} ` }),
    tokens: [{ label: token.label, pin: { file: token.pinFile } }],
    ...more,
  }
}
