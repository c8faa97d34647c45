/** Adverse conditions for a command, such as a missing home folder, a missing user name or no writable folder. */
// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process'
import { chown, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parse, stringify } from 'yaml'
import type { Workspace } from './cli.ts'

/** A user id without a passwd entry. */
export const UID = 543_210

/** Configuration errors in every section that a kill does not need. */
export const FAULTS = {
  ...{ listener: 'later', workers: -1, limits: { maxAadBytes: 'many' }, nonsense: true },
  ...{ activity: [], backends: {}, keyStores: [{ name: 'demo', prefix: 'no slash' }] },
}

export interface Privation {
  readonly name: string
  /** Sets up the condition before the command runs. */
  readonly prepare?: (place: Workspace) => Promise<unknown>
  readonly environment?: Record<string, string>
  readonly cwd?: string
  /** Arguments to insert before `node`. */
  readonly by?: (place: Workspace) => readonly string[]
}

/** Makes the test user own everything that the command must read or write. */
export async function giveAway({ folder }: Workspace): Promise<void> {
  for (const name of ['.', ...(await readdir(folder))]) await chown(join(folder, name), UID, UID)
}

export async function edit(place: Workspace, change: Record<string, unknown>): Promise<void> {
  const config = parse(await readFile(place.configFile, 'utf8')) as Record<string, unknown>
  await writeFile(place.configFile, stringify({ ...config, ...change }))
}

/** @param latchkey the program and its arguments */
export function runDeprived(
  place: Workspace,
  { environment = {}, cwd, by }: Privation,
  latchkey: readonly string[],
) {
  const { folder, configFile } = place
  const [command = '', ...words] = [
    ...(by?.(place) ?? []),
    ...[process.execPath, ...latchkey, '--config', configFile],
  ]
  const child = spawn(command, words, {
    cwd: cwd ?? folder,
    env: { PATH: process.env['PATH'] ?? '', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output += text))
  return new Promise<{ code: number | null; output: string }>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => {
      resolve({ code, output })
    })
  })
}
