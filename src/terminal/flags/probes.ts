/** The flag and the note for reports that exclude requests from Latchkey's own tools. */
// SPDX-License-Identifier: Apache-2.0
import type { Flag } from '../command.ts'

export const PROBES_FLAG = {
  probes: {
    type: 'boolean',
    description: 'Include requests that doctor, bench, report, simulate and quickstart sent.',
  },
} as const satisfies Record<string, Flag>

export function describeProbes(requests: number): string {
  const [what, verb] = requests === 1 ? ['request', 'is'] : ['requests', 'are']
  return `${String(requests)} ${what} from Latchkey's own tools ${verb} left out; pass --probes to include them`
}
