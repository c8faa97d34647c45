/** Lists the commands for audit logs and webhooks, a part of commands.ts. */
// SPDX-License-Identifier: Apache-2.0
import type { Command } from '../terminal/command.ts'

/** A command whose module is loaded when it is called. */
export interface Entry {
  readonly summary: string
  load(): Promise<Command>
}

export const OBSERVATION_COMMANDS: Readonly<Record<string, Entry>> = {
  'audit verify': {
    summary: 'Verify the audit logs from their files, without trusting who wrote them',
    load: async () => (await import('./commands/audit.ts')).auditVerify,
  },
  'audit prove': {
    summary: 'Write a proof that a log has the entry of a request, which can be checked offline',
    load: async () => (await import('./commands/audit.ts')).auditProve,
  },
  'audit check-proof': {
    summary: "Verify an entry's inclusion proof without access to the log",
    load: async () => (await import('./commands/audit.ts')).auditCheckProof,
  },
  'audit search': {
    summary: 'Search the audit logs',
    load: async () => (await import('./commands/audit-read.ts')).auditSearch,
  },
  'audit tail': {
    summary: 'Show the last entries of the audit logs',
    load: async () => (await import('./commands/audit-read.ts')).auditTail,
  },
  'audit export': {
    summary: 'Write entries of the audit logs as JSON lines, CSV, ECS or OCSF',
    load: async () => (await import('./commands/audit-read.ts')).auditExport,
  },
  'audit principal-hash': {
    summary: 'Print the hash that stands for a principal in logs with hashed principals',
    load: async () => (await import('./commands/audit-read.ts')).auditPrincipalHash,
  },
  'audit prune': {
    summary: 'Remove old entries from the audit logs; what remains can still be verified',
    load: async () => (await import('./commands/audit-prune.ts')).auditPrune,
  },
  'audit witness': {
    summary: 'Serve a witness that cosigns the control logs of other stores',
    load: async () => (await import('./commands/audit-witness.ts')).auditWitness,
  },
  'audit reconcile': {
    summary: 'Compare the audit logs with CloudTrail, in both directions',
    load: async () => (await import('./commands/audit-reconcile.ts')).auditReconcile,
  },
  'webhooks test': {
    summary: 'Send a test message to the webhooks, and show what the receivers answer',
    load: async () => (await import('./commands/webhooks.ts')).webhooksTest,
  },
}
