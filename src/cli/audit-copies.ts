/** Copies audit logs from an admin listener, for a command that verifies them. */
// SPDX-License-Identifier: Apache-2.0
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { copyLog } from '../audit/reader/log-copy.ts'
import type { KnownHead } from '../audit/reader/verify-log.ts'
import type { components } from '../openapi/types.gen.ts'
import type { Output } from '../terminal/output.ts'
import type { AdminTarget } from '../terminal/contexts.ts'

const ROOT = '/admin/v1/audit/logs'

export interface CopiedLogs {
  readonly folder: string
  /** Heads of an earlier copy in the same folder, by origin of the log. */
  readonly earlier: ReadonlyMap<string, KnownHead>
}

/**
 * @param folder folder for the copies, which stay; absent: a temporary folder, which is removed
 * @throws AdminRefusal, AdminCallError, AuditError AUDIT_INVALID
 */
export async function withCopiedLogs(
  target: AdminTarget,
  folder: string | undefined,
  { output, work }: { readonly output: Output; work(copied: CopiedLogs): Promise<void> },
): Promise<void> {
  const { createAdminHttp } = await import('../admin/client/http.ts')
  const http = createAdminHttp(target)
  const into = folder ?? (await mkdtemp(join(tmpdir(), 'latchkey-audit-')))
  try {
    const { logs } = (await http.get(ROOT)) as components['schemas']['AdminAuditLogs']
    const earlier = new Map<string, KnownHead>()
    for (const log of logs) {
      // The listener may be hostile, and the names it returns become folder names.
      if (!/^[A-Za-z0-9][A-Za-z0-9-]{0,100}$/.test(log)) continue
      const before = await copyLog(join(into, log), (path) =>
        http.getBytes(`${ROOT}/${log}/${path}`),
      )
      if (before !== undefined) earlier.set(before.origin, { ...before, source: 'the copy' })
    }
    output.note(`${String(logs.length)} logs copied from ${target.url}`)
    await work({ folder: into, earlier })
  } finally {
    http.close()
    if (folder === undefined) await rm(into, { recursive: true, force: true })
  }
}
