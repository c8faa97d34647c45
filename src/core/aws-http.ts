/** Options of the AWS SDK's HTTP client. Every client of the SDK uses them. */
// SPDX-License-Identifier: Apache-2.0
import type https from 'node:https'

export interface AwsTimeouts {
  readonly connectMs: number
  /** Limits the time until the response's headers arrive, and each pause within its body. */
  readonly requestMs: number
}

/**
 * Returns the options for the `requestHandler` of an SDK client. Without `throwOnRequestTimeout`,
 * the SDK only logs a warning and keeps waiting. A response that trickles in can still take
 * longer, so callers also set a deadline for the whole call.
 */
export function toRequestHandler(httpsAgent: https.Agent, { connectMs, requestMs }: AwsTimeouts) {
  return {
    connectionTimeout: connectMs,
    requestTimeout: requestMs,
    throwOnRequestTimeout: true,
    socketTimeout: requestMs,
    httpsAgent,
  } as const
}
