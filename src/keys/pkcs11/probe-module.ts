/** Looks at a module in a process that ends with the look. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import { Deadline } from '../../core/deadline.ts'
import type { Pkcs11BackendConfig } from '../../config/config.ts'
import type { ProbeReport } from './wire/calls.ts'
import { HostProcess, TokenError } from './pool/worker-process.ts'

/** @throws BackendError @throws DeadlineExceeded after `deadlines.startMs` */
export async function probeModule(config: Pkcs11BackendConfig, clock: Clock): Promise<ProbeReport> {
  const process = new HostProcess(config.environment)
  const deadline = new Deadline(clock, config.deadlines.startMs)
  try {
    const report = process.call({
      call: 'probe',
      module: config.module,
      ...(config.parameters === undefined ? {} : { parameters: config.parameters }),
      keysBy: config.keys.by,
      healthKey: config.healthKey,
      tokens: config.tokens.map(({ pin, ...token }) => ({ token, pin: pin.reveal() })),
    })
    return (await deadline.race(report)) as ProbeReport
  } catch (error) {
    throw error instanceof TokenError ? error.toBackendError() : error
  } finally {
    process.kill()
  }
}
