/** Limits a process to a share of a core, using a control group, so that a client on another core can overload it. */
// SPDX-License-Identifier: Apache-2.0
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const ROOT = '/sys/fs/cgroup'
/** A short period, so that each throttling pause lasts only a few milliseconds. */
const PERIOD_US = 5000

/**
 * Requires Linux and root.
 * @param share the share of one core, above 0
 * @returns a function that removes the group once the process has exited
 */
export function holdToShare(pid: number, share: number): () => void {
  const isUnified = existsSync(join(ROOT, 'cgroup.controllers'))
  const quotaUs = Math.round(PERIOD_US * share)
  const group = join(ROOT, isUnified ? '' : 'cpu', `latchkey-bench-${String(pid)}`)
  if (isUnified) writeFileSync(join(ROOT, 'cgroup.subtree_control'), '+cpu')
  mkdirSync(group)
  if (isUnified) writeFileSync(join(group, 'cpu.max'), `${String(quotaUs)} ${String(PERIOD_US)}`)
  else {
    writeFileSync(join(group, 'cpu.cfs_period_us'), String(PERIOD_US))
    writeFileSync(join(group, 'cpu.cfs_quota_us'), String(quotaUs))
  }
  writeFileSync(join(group, 'cgroup.procs'), String(pid))
  return () => {
    rmdirSync(group)
  }
}
