/**
 * Measures the cost of the audit log: compares the same server without an audit log, in buffered mode, and in strict
 * mode.
 */
// SPDX-License-Identifier: Apache-2.0
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { compareConfigurations } from './configurations.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '7' },
    seconds: { type: 'string', default: '2' },
    connections: { type: 'string', default: '16' },
    // Decrypt requests per second in the open loop (default: KMS's default quota).
    rate: { type: 'string', default: '1800' },
    // Cores for the server. 0: the server uses one core and the client the other. 0,1: they share both.
    cores: { type: 'string', default: '0' },
  },
})

const folder = await mkdtemp(join(tmpdir(), 'latchkey-bench-'))
const audit = (mode: string) => `audit: { mode: ${mode}, folder: ${join(folder, `${mode}.audit`)} }`
try {
  await compareConfigurations({
    folder,
    configurations: { off: '', buffered: audit('buffered'), strict: audit('strict') },
    rounds: Number(values.rounds),
    seconds: Number(values.seconds),
    connections: Number(values.connections),
    rate: Number(values.rate),
    cores: values.cores,
    tailOf: 'decrypt',
  })
} finally {
  await rm(folder, { recursive: true })
}
