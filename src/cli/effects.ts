/**
 * Defines each command's effect without --yes. docs/cli.md shows these rules, and a test compares
 * them with the commands' flags.
 */
// SPDX-License-Identifier: Apache-2.0

export const EFFECTS = {
  asks: {
    meaning:
      'only show what they would do, because they grant access, remove access permanently, remove evidence or change what is trusted',
    commands: [
      ...['restore', 'restore approve', 'deadman end', 'control accept-epoch', 'store recover'],
      ...['keys disable', 'keys enable', 'keys trust', 'keys destroy-version', 'keys dates'],
      ...['keys approve-retirement', 'keys shred', 'credentials revoke', 'rotate-credentials'],
      ...['operators add', 'operators group', 'operators remove', 'admin tokens revoke'],
      ...['store rekey', 'policy put', 'policy delete'],
      ...['policy promote', 'policy discard', 'policy rollback', 'audit prune', 'unregister'],
    ],
  },
  protects: {
    meaning: 'act at once, because they protect keys and data',
    commands: [
      ...['kill', 'restore withdraw', 'deadman start', 'deadman renew', 'deadman close'],
      ...['credentials expire', 'keys cancel-retirement'],
    ],
  },
  adds: {
    meaning: 'act at once, because they remove nothing',
    commands: [
      ...['quickstart', 'init', 'serve', 'keys create', 'keys import', 'keys rotate'],
      ...['keys retire', 'credentials create'],
      ...['admin tokens create', 'admin token', 'login', 'register', 'drill', 'simulate'],
      ...['store backup', 'store copy', 'store recovery-key', 'store escrow'],
      ...[
        'context add',
        'context use',
        'context remove',
        'webhooks test',
        'audit witness',
        'kms',
        'manual',
      ],
    ],
  },
  reads: {
    meaning: 'change nothing',
    commands: [
      ...['status', 'exposure', 'events', 'receipt list', 'receipt show', 'receipt verify'],
      ...['receipt key', 'context list', 'store verify', 'config check', 'config schema'],
      ...[
        'keys list',
        'keys versions',
        'keys retirements',
        'pkcs11 probe',
        'pkcs11 certify',
        'credentials list',
      ],
      ...['operators list', 'admin tokens list', 'doctor', 'bench', 'report', 'policy list'],
      ...['policy get', 'policy history', 'policy schema', 'policy check', 'policy test'],
      ...['policy explain', 'policy simulate', 'policy suggest', 'policy import', 'audit verify'],
      ...[
        'audit prove',
        'audit prove-event',
        'audit check-proof',
        'audit search',
        'audit tail',
        'audit export',
      ],
      ...['audit principal-hash', 'audit reconcile', 'tripwire simulate', 'tripwire suggest'],
      ...['completion', 'version'],
    ],
  },
} as const satisfies Readonly<
  Record<string, { readonly meaning: string; readonly commands: readonly string[] }>
>
