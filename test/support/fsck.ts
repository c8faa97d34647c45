/** Runs fsck of transparency-dev/tessera, an independent verifier. test/by-hand/audit-fsck.ts says how to install it. */
// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const FSCK = process.env['FSCK'] ?? 'fsck'

/** Returns the log's size if it is valid, or else fsck's error output. */
export async function fsck(folder: string): Promise<string> {
  const words = ['--ui=false', `--storage_url=file://${folder}/`]
  const key = `--public_key=${join(folder, 'log.vkey')}`
  try {
    const { stderr } = await run(FSCK, [...words, key], { timeout: 30_000 })
    // fsck exits with 0 even after some failures, so check its output instead.
    return /Successfully fsck'd log with size (\d+)/.exec(stderr)?.[1] ?? stderr
  } catch (error) {
    return `failed: ${String((error as { stderr?: string }).stderr)}`
  }
}
