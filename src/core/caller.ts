/** Maps an ARN to the caller to which counts and limits apply. */
// SPDX-License-Identifier: Apache-2.0

/**
 * Returns the principal. For a session of a role it drops the session name, which a caller of
 * AssumeRole chooses, so all sessions of a role count as one caller.
 */
export function toCaller(principalArn: string): string {
  if (!principalArn.includes(':assumed-role/')) return principalArn
  return principalArn.slice(0, principalArn.lastIndexOf('/'))
}
