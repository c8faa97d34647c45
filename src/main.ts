#!/usr/bin/env node
/** The executable: process into cli/run.ts, exit code out. */
// SPDX-License-Identifier: Apache-2.0
import { run } from './cli/run.ts'

/** Of the terminal, or as COLUMNS says where there is none. */
const columns = process.stdout.isTTY
  ? process.stdout.columns
  : Number.parseInt(process.env['COLUMNS'] ?? '', 10)

// `latchkey keys list | head -1`: nobody reads on, which is no fault.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
})

process.exitCode = await run(process.argv.slice(2), process.env, {
  stdout: (text) => process.stdout.write(text),
  stderr: (text) => process.stderr.write(text),
  ...(columns >= 40 ? { columns } : {}),
  isTerminal: process.stdout.isTTY && (process.env['NO_COLOR'] ?? '') === '',
})
