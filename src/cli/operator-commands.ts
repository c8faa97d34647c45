/** Lists the commands for operators and their tokens, a part of commands.ts. */
// SPDX-License-Identifier: Apache-2.0
import type { Entry } from './observation-commands.ts'

export const OPERATOR_COMMANDS: Readonly<Record<string, Entry>> = {
  login: {
    summary:
      'Log in to an admin listener through its identity provider, using a browser on any device',
    load: async () => (await import('./commands/login.ts')).login,
  },
  events: {
    summary: 'Show the latest events of the control store, and follow new ones',
    load: async () => (await import('./commands/events.ts')).events,
  },
  'operators add': {
    summary: 'Add an operator to the store, or replace its roles',
    load: async () => (await import('./commands/operators.ts')).operatorsAdd,
  },
  'operators group': {
    summary: 'Add a group that gives its members a role, or replace its role',
    load: async () => (await import('./commands/operators.ts')).operatorsGroup,
  },
  'operators list': {
    summary: 'List operators and groups',
    load: async () => (await import('./commands/operators.ts')).operatorsList,
  },
  'operators remove': {
    summary: 'Remove an operator and revoke its tokens, or remove a group',
    load: async () => (await import('./commands/operators.ts')).operatorsRemove,
  },
  'admin tokens create': {
    summary: 'Create a token of an operator for the admin listener; it is shown once',
    load: async () => (await import('./commands/admin-tokens.ts')).adminTokensCreate,
  },
  'admin tokens list': {
    summary: 'List the tokens of operators, with their last use',
    load: async () => (await import('./commands/admin-tokens.ts')).adminTokensList,
  },
  'admin tokens revoke': {
    summary: 'Revoke a token on every admin listener within a second',
    load: async () => (await import('./commands/admin-tokens.ts')).adminTokensRevoke,
  },
  'admin token': {
    summary: 'Create a token for latchkey.yaml, and print its configuration lines',
    load: async () => (await import('./commands/admin-token.ts')).adminToken,
  },
}
