/** Copies audit logs from an admin listener, for a command that verifies them. */
// SPDX-License-Identifier: Apache-2.0
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { copyLog } from '../audit/reader/log-copy.ts'
import type { Problem } from '../audit/reader/problem.ts'
import type { components } from '../openapi/types.gen.ts'
import type { Output } from '../terminal/output.ts'
import type { AdminTarget } from '../terminal/contexts.ts'

const ROOT = '/admin/v1/audit/logs'

export interface RefusedLog extends Problem {
  /** Name of the log. */
  readonly log: string
}

export interface CopiedLogs {
  readonly folder: string
  /** Logs that failed verification while they were copied. Their earlier copies, if any, are unchanged. */
  readonly refused: readonly RefusedLog[]
}

export interface CopyOptions {
  /** Public key of the store that must have certified the logs. */
  readonly publicKey: string
  readonly output: Output
  readonly work: (copied: CopiedLogs) => Promise<void>
}

/**
 * @param folder folder for the copies; if absent, they go to a temporary folder that is removed
 * afterwards
 * @throws AdminRefusal, AdminCallError
 */
export async function withCopiedLogs(
  target: AdminTarget,
  folder: string | undefined,
  { publicKey, output, work }: CopyOptions,
): Promise<void> {
  const { createAdminHttp } = await import('../admin/client/http.ts')
  const http = createAdminHttp(target)
  const into = folder ?? (await mkdtemp(join(tmpdir(), 'latchkey-audit-')))
  try {
    const { logs } = (await http.get(ROOT)) as components['schemas']['AdminAuditLogs']
    const refused: RefusedLog[] = []
    for (const log of logs) {
      // The listener may be hostile, and the names it returns become folder names.
      if (!/^[A-Za-z0-9][A-Za-z0-9-]{0,100}$/.test(log)) continue
      const read = (path: string) => http.getBytes(`${ROOT}/${log}/${path}`)
      const problem = await copyLog(join(into, log), { read, publicKey })
      if (problem !== undefined) refused.push({ log, ...problem })
    }
    output.note(`${String(logs.length - refused.length)} logs copied from ${target.url}`)
    await work({ folder: into, refused })
  } finally {
    http.close()
    if (folder === undefined) await rm(into, { recursive: true, force: true })
  }
}
