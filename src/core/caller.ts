/** Maps an ARN to the caller to which counts and limits apply. */
// SPDX-License-Identifier: Apache-2.0

/**
 * Returns the principal. For a role session, drops the session name, which the caller of AssumeRole
 * chooses, so that all sessions of a role count as one caller.
 */
export function toCaller(principalArn: string): string {
  if (!principalArn.includes(':assumed-role/')) return principalArn
  return principalArn.slice(0, principalArn.lastIndexOf('/'))
}
