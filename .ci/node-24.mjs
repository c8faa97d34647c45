// Prepares a copy of the project with add-ons built for Node.js 24, so that the tests can run there.
// SPDX-License-Identifier: Apache-2.0
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { buildAddOns, fetchNode, GUARD_BINARY } from './native.mjs'
import { must, ROOT, run } from './process.mjs'
import { findTests } from './tests.mjs'

export const VERSION = '24.18.1'
/**
 * Tests to repeat on Node.js 24: those that run the whole program, because Node.js versions differ in TLS, HTTP and
 * native code.
 */
const TESTS = ['server/', 'contract/', 'unit/core/tls-groups']
/**
 * Tests to skip on Node.js 24. Tokens from other vendors use the same add-on, so testing SoftHSM2 is sufficient. The
 * other tests listed here are long and cover many cases of Latchkey's own rules: store keys, tampering, the interfaces
 * of the kill switch, and the headers that browsers send. None of them runs version-dependent code that the remaining
 * tests do not also run.
 */
const LEFT_OUT =
  /contract\/(nss|p11-kit|store-rekey|store-key-change|store-tampering)|server\/(kill-doors|admin-sources)/

/** Builds the copy if it is missing. @returns the options for `runTests` in tests.mjs */
export async function prepareNode24() {
  const prefix = await fetchNode(VERSION)
  const node = join(prefix, 'bin/node')
  const copy = await copyProject()
  if (!(await isBuiltFor(node, copy))) await buildAddOns({ node, cwd: copy })
  return {
    node,
    cwd: copy,
    files: findTests(TESTS).filter((file) => !LEFT_OUT.test(file)),
    // This cache saves each of the many processes compilation time. Node.js 20 does not have it.
    env: { NODE_COMPILE_CACHE: join(copy, 'compile-cache') },
  }
}

/**
 * Creates a second installation, because add-ons are built for a single Node.js version. The installation is kept for
 * the next run.
 */
async function copyProject() {
  const copy = join(ROOT, 'node_modules/.cache/node-24')
  mkdirSync(copy, { recursive: true })
  for (const name of ['.test-build', 'test', 'docs', 'docker', 'package.json', 'openapi.yaml']) {
    rmSync(join(copy, name), { recursive: true, force: true })
    await must('cp', ['-a', join(ROOT, name), copy])
  }
  // This add-on works with every Node.js version.
  if (existsSync(join(ROOT, GUARD_BINARY))) {
    mkdirSync(dirname(join(copy, GUARD_BINARY)), { recursive: true })
    copyFileSync(join(ROOT, GUARD_BINARY), join(copy, GUARD_BINARY))
  }
  // Copy the lock file last, because its presence means that all packages are installed.
  const lock = join(copy, 'package-lock.json')
  const wanted = readFileSync(join(ROOT, 'package-lock.json'), 'utf8')
  if (!existsSync(lock) || readFileSync(lock, 'utf8') !== wanted) {
    await copyPackages(join(copy, 'node_modules'))
    writeFileSync(lock, wanted)
  }
  return copy
}

async function copyPackages(folder) {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder)
  const names = readdirSync(join(ROOT, 'node_modules')).filter((name) => name !== '.cache')
  await must('cp', ['-a', ...names.map((name) => join(ROOT, 'node_modules', name)), folder])
}

async function isBuiltFor(node, cwd) {
  const load = "new (require('better-sqlite3'))(':memory:').close(); require('pkcs11js')"
  return (await run(node, ['-e', load], { cwd })).code === 0
}
