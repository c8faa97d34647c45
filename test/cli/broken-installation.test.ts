/**
 * Tests the error message for a native add-on that is missing, not built, or built for another Node.js version. Each
 * case runs in a real copy of the program.
 */
// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { ROOT } from '../support/repository.ts'

const PROGRAM = fileURLToPath(new URL('../../src/', import.meta.url))
const PACKAGE = 'better-sqlite3'

/** Copies the program and links its packages, except that the add-on's package is copied without its binary. */
function copyTree(t: Test): { readonly folder: string; readonly addOn: string } {
  // The folder is outside the project; otherwise Node.js would find the project's packages.
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'latchkey-broken-')))
  t.teardown(() => {
    rmSync(folder, { recursive: true, force: true })
  })
  cpSync(PROGRAM, join(folder, 'src'), { recursive: true })
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  const from = join(ROOT, 'node_modules')
  mkdirSync(join(folder, 'node_modules'))
  for (const name of readdirSync(from)) {
    if (name !== PACKAGE) symlinkSync(join(from, name), join(folder, 'node_modules', name))
  }
  const addOn = join(folder, 'node_modules', PACKAGE)
  cpSync(join(from, PACKAGE), addOn, {
    recursive: true,
    filter: (path) => !path.slice(from.length).includes('/build') && !path.includes('/deps'),
  })
  return { folder, addOn }
}

function init(folder: string): string {
  const args = [join(folder, 'src', 'main.js'), 'init', '--dir', join(folder, 'made')]
  return spawnSync(process.execPath, args, { encoding: 'utf8', cwd: folder }).stderr
}

void t.test('a broken store add-on is named, with the command that repairs it', (t) => {
  const { folder, addOn } = copyTree(t)
  const fault = /error: the store's engine, better-sqlite3, /
  const notBuilt = init(folder)
  t.match(notBuilt, fault)
  t.match(notBuilt, /is not built; this is Node\.js v\d+/)
  t.match(notBuilt, /hint: run npm rebuild better-sqlite3 --ignore-scripts=false/)

  rmSync(join(folder, 'made'), { recursive: true, force: true })
  mkdirSync(join(addOn, 'build', 'Release'), { recursive: true })
  writeFileSync(join(addOn, 'build', 'Release', 'better_sqlite3.node'), 'no shared library')
  t.match(init(folder), /better-sqlite3, cannot be loaded here: this is Node\.js v\d+/)

  rmSync(join(folder, 'made'), { recursive: true, force: true })
  rmSync(addOn, { recursive: true })
  const absent = init(folder)
  t.match(absent, fault)
  t.match(absent, /is not installed; .*\n.*hint: run npm ci in /)
  t.end()
})
