/** Lists the commands for the tripwire; commands.ts includes this list. */
// SPDX-License-Identifier: Apache-2.0
import type { Entry } from './observation-commands.ts'

export const TRIPWIRE_COMMANDS: Readonly<Record<string, Entry>> = {
  'tripwire simulate': {
    summary: 'Show which tripwire rules past requests would have broken',
    load: async () => (await import('./commands/tripwire.ts')).tripwireSimulate,
  },
  'tripwire suggest': {
    summary: 'Generate tripwire rules from recorded usage',
    load: async () => (await import('./commands/tripwire.ts')).tripwireSuggest,
  },
}
