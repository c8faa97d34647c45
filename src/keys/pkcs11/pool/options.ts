/** Options for a token's worker processes, and what they report. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../../core/clock.ts'
import type { Logger } from '../../../core/logger.ts'
import type { Pkcs11BackendConfig, TokenConfig } from '../../../config/config.ts'
import type { ManagerHealth } from '../../key-backend.ts'
import type { StartCall } from '../wire/calls.ts'

export type CircuitState = 'closed' | 'open' | 'half-open'

export interface TokenStats {
  readonly id: string
  readonly state: ManagerHealth['status']
  readonly circuit: CircuitState
  readonly sessions: { readonly open: number; readonly busy: number; readonly max: number }
  readonly queued: number
  /** Number of worker processes, including those that are starting. */
  readonly hosts: number
  /** Number of worker processes started after the initial ones. */
  readonly restarts: number
}

export interface PoolOptions {
  readonly config: Pkcs11BackendConfig
  readonly token: TokenConfig
  readonly clock: Clock
  /** Data sizes that the self-test encrypts; undefined to skip the self-test, as commands do. */
  readonly selfTest: StartCall['selfTest'] | undefined
  readonly logger: Logger
  /** See StartCall. */
  readonly ownKey?: string
}

export function toStartCall({ config, token, selfTest, ownKey }: PoolOptions): StartCall {
  const { pin, ...selector } = token
  return {
    call: 'start',
    module: config.module,
    ...(config.parameters === undefined ? {} : { parameters: config.parameters }),
    token: selector,
    pin: pin.reveal(),
    iv: config.iv,
    keysBy: config.keys.by,
    healthKey: config.healthKey,
    functionFailedIsBusy: config.functionFailedIsBusy,
    ...(selfTest === undefined ? {} : { selfTest }),
    ...(ownKey === undefined ? {} : { ownKey }),
  }
}
