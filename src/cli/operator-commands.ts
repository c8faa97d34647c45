/** Lists the commands for operators and their tokens; commands.ts includes this list. */
// SPDX-License-Identifier: Apache-2.0
import type { Entry } from './observation-commands.ts'

export const OPERATOR_COMMANDS: Readonly<Record<string, Entry>> = {
  login: {
    summary:
      'Log in to an admin listener through its identity provider, using a browser on any device',
    load: async () => (await import('./commands/login.ts')).login,
  },
  events: {
    summary: 'Show the most recent events in the control store, and follow new ones with --follow',
    load: async () => (await import('./commands/events.ts')).events,
  },
  'operators add': {
    summary: 'Add an operator, or replace the roles of an existing one',
    load: async () => (await import('./commands/operators.ts')).operatorsAdd,
  },
  'operators group': {
    summary: 'Add a group that gives its members a role, or replace the role of an existing group',
    load: async () => (await import('./commands/operators.ts')).operatorsGroup,
  },
  'operators list': {
    summary: 'List operators and groups',
    load: async () => (await import('./commands/operators.ts')).operatorsList,
  },
  'operators remove': {
    summary: "Remove an operator and revoke the operator's tokens, or remove a group",
    load: async () => (await import('./commands/operators.ts')).operatorsRemove,
  },
  'admin tokens create': {
    summary: 'Create an admin listener token for an operator; it is shown only once',
    load: async () => (await import('./commands/admin-tokens.ts')).adminTokensCreate,
  },
  'admin tokens list': {
    summary: "List operators' tokens and when each was last used",
    load: async () => (await import('./commands/admin-tokens.ts')).adminTokensList,
  },
  'admin tokens revoke': {
    summary: 'Revoke a token; every admin listener refuses it within a second',
    load: async () => (await import('./commands/admin-tokens.ts')).adminTokensRevoke,
  },
  'admin token': {
    summary: 'Create a token for latchkey.yaml, and print the lines to add to the file',
    load: async () => (await import('./commands/admin-token.ts')).adminToken,
  },
}
