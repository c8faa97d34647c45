/** Lists the commands for audit logs and webhooks; commands.ts includes this list. */
// SPDX-License-Identifier: Apache-2.0
import type { Command } from '../terminal/command.ts'

/** A command whose module is loaded when it is called. */
export interface Entry {
  readonly summary: string
  load(): Promise<Command>
}

export const OBSERVATION_COMMANDS: Readonly<Record<string, Entry>> = {
  'audit verify': {
    summary: 'Verify the audit logs from their files, without trusting the server that wrote them',
    load: async () => (await import('./commands/audit.ts')).auditVerify,
  },
  'audit prove': {
    summary: 'Write a proof, verifiable offline, that a log contains the entry of a request',
    load: async () => (await import('./commands/audit-prove.ts')).auditProve,
  },
  'audit prove-event': {
    summary: 'Write a proof, verifiable offline, that the control log contains an event',
    load: async () => (await import('./commands/audit-prove.ts')).auditProveEvent,
  },
  'audit check-proof': {
    summary: "Verify an entry's inclusion proof without access to the log",
    load: async () => (await import('./commands/audit-prove.ts')).auditCheckProof,
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
    summary: 'Export audit log entries as JSON lines, CSV, ECS or OCSF',
    load: async () => (await import('./commands/audit-read.ts')).auditExport,
  },
  'audit principal-hash': {
    summary: 'Print the hash that replaces a principal in logs with hashed principals',
    load: async () => (await import('./commands/audit-read.ts')).auditPrincipalHash,
  },
  'audit prune': {
    summary: 'Remove old entries from the audit logs; the remaining entries can still be verified',
    load: async () => (await import('./commands/audit-prune.ts')).auditPrune,
  },
  'audit witness': {
    summary: 'Serve a witness that cosigns the control logs of other stores',
    load: async () => (await import('./commands/audit-witness.ts')).auditWitness,
  },
  'audit reconcile': {
    summary: "Compare the audit logs with CloudTrail's records, in both directions",
    load: async () => (await import('./commands/audit-reconcile.ts')).auditReconcile,
  },
  'webhooks test': {
    summary: "Send a test message to the webhooks, and show the receivers' responses",
    load: async () => (await import('./commands/webhooks.ts')).webhooksTest,
  },
}
