// Builds the native add-ons with node-gyp. It needs no network access except to the package registry.
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { installPrograms, must, ROOT } from './process.mjs'

const ADD_ONS = ['better-sqlite3']
/**
 * Only the HSM backend needs the PKCS#11 add-on. If the add-on cannot be built, the failure is reported, but it is
 * fatal only in CI.
 */
const OPTIONAL_ADD_ONS = ['pkcs11js']
/**
 * Latchkey's own add-ons. The lease guard lets the Linux kernel enforce the lease; the others verify the store's rows and call
 * PKCS#11 modules.
 */
const OWN_ADD_ONS = [
  {
    ...{ title: 'the lease guard', folder: 'src/killswitch/gate/guard', script: 'build:guard' },
    ...{ source: 'lease-guard.c', binary: 'lease_guard.node', test: 'now()' },
  },
  {
    ...{ title: 'the add-on for sealed rows', folder: 'src/store/row-codes' },
    ...{ script: 'build:row-codes', source: 'row-codes.c', binary: 'row_codes.node' },
    test: 'verify.length',
  },
  {
    ...{ title: 'the add-on for tokens', folder: 'src/keys/pkcs11/worker/gcm' },
    ...{ script: 'build:token-gcm', source: 'token-gcm.c', binary: 'token_gcm.node' },
    // Its headers come with this package.
    ...{ needs: 'pkcs11js', test: 'run.length' },
  },
]
/** @param {{ folder: string, binary: string }} addOn */
const toBinary = ({ folder, binary }) => `${folder}/build/Release/${binary}`
/** Paths of the binaries, relative to the project folder. */
export const OWN_BINARIES = OWN_ADD_ONS.map(toBinary)
const TOOLCHAIN = { python3: 'python3', make: 'make', 'g++': 'g++' }

/** @param {{ node: string, cwd: string }} target the Node.js binary to build for, and the project folder */
export async function buildAddOns({ node = process.execPath, cwd = ROOT } = {}) {
  await installPrograms(TOOLCHAIN)
  const version = (await must(node, ['--version'])).trim().slice(1)
  const nodedir = await findHeaders(node, version)
  const env = {
    // node-gyp builds for the Node.js version that runs it.
    PATH: `${dirname(node)}:${process.env.PATH}`,
    npm_config_nodedir: nodedir,
    npm_config_build_from_source: 'true',
    // node-gyp passes JOBS to make as -j.
    JOBS: 'max',
  }
  const build = async (name) => {
    await must('npm', ['rebuild', name, '--ignore-scripts=false'], { env, cwd })
    const load = `const A = require('${name}'); if (typeof A === 'function') new A(':memory:').close()`
    await must(node, ['-e', load], { cwd })
  }
  for (const name of ADD_ONS) await build(name)
  for (const name of OPTIONAL_ADD_ONS) {
    await build(name).catch((error) => {
      if (process.env.CI !== undefined) throw error
      process.stderr.write(
        `${name} could not be built, so there is no HSM backend:\n${error.message}\n`,
      )
    })
  }
}

/**
 * Builds Latchkey's own add-ons once for all Node.js versions, because they use Node-API. The server can run without them,
 * and reports when the lease guard is missing. A build failure is reported here, but it is fatal only in CI.
 */
export async function buildOwnAddOns() {
  if (process.platform !== 'linux') return
  for (const addOn of OWN_ADD_ONS) {
    try {
      await buildOwn(addOn)
    } catch (error) {
      if (process.env.CI !== undefined) throw error
      process.stderr.write(`${addOn.title} could not be built:\n${error.message}\n`)
    }
  }
}

/** @param {(typeof OWN_ADD_ONS)[number]} addOn */
async function buildOwn(addOn) {
  const { folder, source, script, test, needs } = addOn
  const hash = createHash('sha256').update(process.arch)
  if (needs !== undefined)
    hash.update(readFileSync(join(ROOT, 'node_modules', needs, 'package.json')))
  for (const name of ['binding.gyp', source]) hash.update(readFileSync(join(ROOT, folder, name)))
  const wanted = hash.digest('hex')
  const binary = toBinary(addOn)
  const stamp = join(ROOT, folder, 'build/built-from')
  const isBuilt = existsSync(join(ROOT, binary)) && existsSync(stamp)
  if (isBuilt && readFileSync(stamp, 'utf8') === wanted) return
  await installPrograms(TOOLCHAIN)
  const nodedir = await findHeaders(process.execPath, process.versions.node)
  // npm scripts can use the node-gyp that npm includes.
  await must('npm', ['run', script], { env: { npm_config_nodedir: nodedir } })
  await must(process.execPath, ['-p', `require('./${binary}').${test}`])
  writeFileSync(stamp, wanted)
}

/**
 * Returns a folder with Node.js headers. Node's own prefix usually contains them, and the registry's binary package
 * always does.
 */
export async function findHeaders(node, version) {
  const prefix = dirname(dirname(node))
  if (headersVersion(prefix) === version) return prefix
  const folder = await fetchNode(version)
  if (headersVersion(folder) !== version) throw new Error(`no headers of Node.js ${version} found`)
  return folder
}

function headersVersion(prefix) {
  const file = join(prefix, 'include/node/node_version.h')
  if (!existsSync(file)) return undefined
  const text = readFileSync(file, 'utf8')
  const part = (name) => new RegExp(`define NODE_${name}_VERSION (\\d+)`).exec(text)?.[1]
  return `${part('MAJOR')}.${part('MINOR')}.${part('PATCH')}`
}

/**
 * Installs a separate copy of Node.js below node_modules/.cache.
 * @returns {Promise<string>} its prefix
 */
export async function fetchNode(version) {
  const name = `node-${process.platform}-${process.arch}`
  const folder = join(ROOT, 'node_modules/.cache', `${name}-${version}`)
  const prefix = join(folder, 'node_modules', name)
  if (!existsSync(join(prefix, 'bin/node'))) {
    await must('npm', [
      ...['install', '--prefix', folder, '--no-save', '--no-package-lock', '--ignore-scripts'],
      `${name}@${version}`,
    ])
  }
  return prefix
}
