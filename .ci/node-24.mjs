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
import { buildAddOns, fetchNode, OWN_BINARIES } from './native.mjs'
import { must, ROOT, run } from './process.mjs'
import { findTests } from './tests.mjs'

export const VERSION = '24.18.1'
/**
 * Tests to repeat on Node.js 24: those that run the whole program, because Node.js versions differ in TLS, HTTP, cryptography,
 * processes and native code. A new test in these folders runs on both versions.
 */
const TESTS = ['server/', 'contract/', 'unit/core/tls-groups', 'unit/core/thread-priority']
/**
 * Tests to skip on Node.js 24, because they check our own logic, and other tests use the same engine, listener or
 * backend on both versions:
 *
 * - server/: framing, http2, mtls, tls and the like test HTTP and TLS; drain, lease-guard, overload and workers test
 *   processes and sockets; secrets and request-bodies check that no Node.js message quotes its input; wycheproof tests
 *   the ciphers.
 * - contract/: sqlite, postgres, store-backup and store-custody test the engines and the keys of the store;
 *   softhsm-backend and software-backend test the key backends. Tokens from other vendors use the same add-on.
 */
const LEFT_OUT = new RegExp(
  [
    'server/(?:activity|admin-audit|admin-reports|admin-sources|credentials|demo|doctor-answers|doctor-operations)\\.',
    'server/(?:errors|integrity|key-rotation|key-stores|kill-doors|metadata|metrics|next-release|observed-mtls)\\.',
    'server/(?:oidc-discovery|policy|probes|quota-shares|retirement|stages|store-damaged|tripwire|webhooks)\\.',
    'contract/(?:activity|control.*|key-dates|nss-backend|operators|p11-kit-backend|pgbouncer|policies)\\.',
    'contract/(?:postgres-.*|retirement.*|store-feed|store-key-change|store-limits|store-rekey.*|store-tampering)\\.',
    'contract/(?:store-upgrade|token-revocation|webhooks)\\.',
  ].join('|'),
)

/** Builds the copy if it is missing. @returns the options for `runTests` in tests.mjs */
export async function prepareNode24() {
  const prefix = await fetchNode(VERSION)
  const node = join(prefix, 'bin/node')
  const copy = await copyProject()
  if (!(await isBuiltFor(node, copy))) await buildAddOns({ node, cwd: copy })
  return {
    node,
    version: VERSION,
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
  rmSync(join(copy, '.test-build'), { recursive: true, force: true })
  mkdirSync(join(copy, '.test-build'))
  // Copy only the compiler's output, because the tests add and remove files next to it during the copy.
  const compiled = ['bench', 'certs', 'src', 'test'].map((name) => join('.test-build', name))
  for (const name of [...compiled, 'test', 'docs', 'docker', 'package.json', 'openapi.yaml']) {
    rmSync(join(copy, name), { recursive: true, force: true })
    await must('cp', ['-a', join(ROOT, name), join(copy, dirname(name))])
  }
  // Latchkey's own add-ons work with every Node.js version.
  for (const name of OWN_BINARIES.filter((one) => existsSync(join(ROOT, one)))) {
    mkdirSync(dirname(join(copy, name)), { recursive: true })
    copyFileSync(join(ROOT, name), join(copy, name))
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
