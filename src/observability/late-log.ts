/** Names the answers that may have left after the gate had closed, because the process was stopped in between. */
// SPDX-License-Identifier: Apache-2.0
import type { Logger } from 'pino'
import type { RequestRecord } from '../xks/request-record.ts'

export function createLateLog(logger: Logger): (record: RequestRecord) => void {
  return ({ keyStore, operation, keyId, status, metadata }) => {
    const { kmsRequestId, awsPrincipalArn } = metadata ?? {}
    const who = { kmsRequestId, awsPrincipalArn }
    logger.warn(
      { keyStore, operation, keyId, status, ...who },
      'an answer may have left after the lease: this process was stopped in the middle of it',
    )
  }
}
