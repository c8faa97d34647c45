/** Lists the commands for the tripwire, a part of commands.ts. */
// SPDX-License-Identifier: Apache-2.0
import type { Entry } from './observation-commands.ts'

export const TRIPWIRE_COMMANDS: Readonly<Record<string, Entry>> = {
  'tripwire simulate': {
    summary: 'Show which rules of the tripwire past requests would have broken',
    load: async () => (await import('./commands/tripwire.ts')).tripwireSimulate,
  },
  'tripwire suggest': {
    summary: 'Write rules for the tripwire from recorded usage',
    load: async () => (await import('./commands/tripwire.ts')).tripwireSuggest,
  },
}
