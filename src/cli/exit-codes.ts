/** Exit codes, taken from sysexits.h where a code fits. */
// SPDX-License-Identifier: Apache-2.0

export const EXIT_CODES = {
  ok: { code: 0, meaning: 'done' },
  failed: { code: 1, meaning: 'refused or failed; the message says why' },
  usage: { code: 64, meaning: 'unknown command or flag, or a required flag is missing' },
  data: { code: 65, meaning: 'the input is not valid' },
  noInput: { code: 66, meaning: 'a file or a store does not exist, or cannot be read' },
  unavailable: { code: 69, meaning: 'the store or an address is busy or does not respond' },
  internal: { code: 70, meaning: 'an internal error in Latchkey' },
  permission: { code: 77, meaning: 'a secret file has unsafe permissions or cannot be read' },
  config: { code: 78, meaning: 'the configuration is not valid' },
} as const

export type ExitName = keyof typeof EXIT_CODES

const BY_ERROR_CODE: ReadonlyMap<string, ExitName> = new Map([
  ['USAGE', 'usage'],
  ['INPUT_INVALID', 'data'],
  ['CREDENTIAL_INVALID', 'data'],
  ['NO_SUCH_RECEIPT', 'data'],
  ['POLICY_INVALID', 'data'],
  ['OPERATOR_INVALID', 'data'],
  ['AUDIT_INVALID', 'data'],
  ['POLICY_NOT_FOUND', 'data'],
  ['KMS_STATE_INVALID', 'data'],
  ['KMS_STATE_OF_ANOTHER', 'data'],
  ['STORE_MISSING', 'noInput'],
  ['CERTIFICATE_UNREADABLE', 'noInput'],
  ['STORE_BUSY', 'unavailable'],
  ['STORE_TIMEOUT', 'unavailable'],
  ['STORE_UNREACHABLE', 'unavailable'],
  ['EADDRINUSE', 'unavailable'],
  ['ADMIN_UNREACHABLE', 'unavailable'],
  ['ISSUER_UNREACHABLE', 'unavailable'],
  ['ADMIN_ANSWER_INVALID', 'unavailable'],
  ['UNAVAILABLE', 'unavailable'],
  ['ENDPOINT_NOT_FOUND', 'unavailable'],
  ['ENDPOINT_UNREACHABLE', 'unavailable'],
  ['ENDPOINT_TLS_FAILED', 'unavailable'],
  ['ENDPOINT_NO_ANSWER', 'unavailable'],
  ['ENOENT', 'noInput'],
  ['EACCES', 'permission'],
  ['MASTER_KEY_UNREADABLE', 'permission'],
  ['FILE_EXPOSED', 'permission'],
  ['CONFIG_INVALID', 'config'],
  ['MISCONFIGURED', 'config'],
  ['HIGH_WATER_UNWRITABLE', 'config'],
  ['STORE_UNSUITABLE', 'config'],
  ['AUDIT_UNWRITABLE', 'config'],
  ['PROXY_INVALID', 'config'],
  ['WEBHOOK_KEY_INVALID', 'config'],
  ['WEBHOOK_URL_INVALID', 'config'],
  ['WEBHOOK_CA_UNREADABLE', 'config'],
])

/** Returns the exit code for an error that a command threw. */
export function toExitCode(error: unknown): number {
  const code = (error as { code?: unknown } | undefined)?.code
  // Node's own TypeError and RangeError have codes too, but always mean a bug in the caller.
  if (error instanceof TypeError || error instanceof RangeError) return EXIT_CODES.internal.code
  if (typeof code !== 'string') return EXIT_CODES.internal.code
  return EXIT_CODES[BY_ERROR_CODE.get(code) ?? 'failed'].code
}
