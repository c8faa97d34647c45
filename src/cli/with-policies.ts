/** Loads the policies that commands work on, from the configuration or from a path. */
// SPDX-License-Identifier: Apache-2.0
import { stat } from 'node:fs/promises'
import type { PolicyAdministration } from '../admin/administration.ts'
import { loadPolicyFiles, loadPolicyFolder } from '../policy/policy-files.ts'
import type { Documents } from '../policy/policy-set.ts'
import { type Context, type Flag, stringFlag } from '../terminal/command.ts'
import { withPolicies } from './with-administration.ts'

/** Flags that select the policies a command examines. */
export const CANDIDATE_FLAGS = {
  policies: {
    type: 'string',
    short: 'p',
    value: 'PATH',
    description: 'Policy file, or a folder of policy files (default: the policies in force).',
  },
  shadow: {
    type: 'boolean',
    description: 'Use the policies in shadow mode instead of those in force.',
  },
} as const satisfies Record<string, Flag>

/** Returns the documents in a file. For a folder, returns only the documents in force. */
export async function loadPolicyPath(path: string): Promise<Documents> {
  const isFolder = (await stat(path)).isDirectory()
  return isFolder ? (await loadPolicyFolder(path)).enforced : loadPolicyFiles([path])
}

/**
 * Returns the policies that --policies names. Without the flag, opens the store and returns the
 * policies in force or, with --shadow, the shadow policies.
 */
export async function loadCandidate(context: Context): Promise<Documents> {
  const path = stringFlag(context, 'policies')
  if (path !== undefined) return loadPolicyPath(path)
  return withPolicies(context, async (policies) => candidateOf(context, policies))
}

/** Works like `loadCandidate`, for policies that the caller has opened. */
export async function candidateOf(
  context: Context,
  policies: PolicyAdministration,
): Promise<Documents> {
  const path = stringFlag(context, 'policies')
  if (path !== undefined) return loadPolicyPath(path)
  const { enforced, shadow } = await policies.state()
  return context.flags['shadow'] === true ? (shadow ?? enforced) : enforced
}
