#!/usr/bin/env node
/** The program's entry point. It runs cli/run.ts in this process and sets the exit code. */
// SPDX-License-Identifier: Apache-2.0
import { run } from './cli/run.ts'

/** Width of the terminal; without a terminal, the value of COLUMNS. */
const columns = process.stdout.isTTY
  ? process.stdout.columns
  : Number.parseInt(process.env['COLUMNS'] ?? '', 10)

// A reader that stops early, as in `latchkey keys list | head -1`, is not an error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
})

process.exitCode = await run(process.argv.slice(2), process.env, {
  stdout: (text) => process.stdout.write(text),
  stderr: (text) => process.stderr.write(text),
  ...(columns >= 40 ? { columns } : {}),
  ...(process.stderr.isTTY && process.stderr.columns >= 40
    ? { stderrColumns: process.stderr.columns }
    : {}),
  isTerminal: process.stdout.isTTY && (process.env['NO_COLOR'] ?? '') === '',
})
