/** The caller behind an ARN, as counts and limits see it. */
// SPDX-License-Identifier: Apache-2.0

/**
 * Returns the principal, without the session's name for a session of a role: a caller of AssumeRole
 * chooses that name, so all sessions of a role are one caller.
 */
export function toCaller(principalArn: string): string {
  if (!principalArn.includes(':assumed-role/')) return principalArn
  return principalArn.slice(0, principalArn.lastIndexOf('/'))
}
