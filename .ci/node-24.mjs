// The same program and tests on Node.js 24: a copy of the project whose add-ons are built for it.
// SPDX-License-Identifier: Apache-2.0
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { buildAddOns, fetchNode } from './native.mjs'
import { must, ROOT, run } from './process.mjs'

const VERSION = '24.18.1'
/** Whole-program tests: what differs between versions of Node.js is TLS, HTTP and native code. */
const FOLDERS = ['server', 'contract']
/** Tokens of other makers behind the same add-on: one, SoftHSM2, is enough here. */
const LEFT_OUT = /contract\/(nss|p11-kit)/
/** tap's own default, 30 s for a file, is for fast machines. */
const TIMEOUT_S = 240

/** @returns {Promise<{ passed: number, failed: number }>} counts of test files */
export async function testOnNode24() {
  const prefix = await fetchNode(VERSION)
  const node = join(prefix, 'bin/node')
  const copy = await copyProject()
  if (!(await isBuiltFor(node, copy))) await buildAddOns({ node, cwd: copy })
  const counts = { passed: 0, failed: 0 }
  const files = (
    await must('find', [
      ...FOLDERS.map((folder) => join('.test-build/test', folder)),
      ...['-name', '*.test.js'],
    ])
  )
    .trim()
    .split('\n')
    .filter((file) => !LEFT_OUT.test(file))
    .sort()
  const worker = async () => {
    for (let file = files.pop(); file !== undefined; file = files.pop()) {
      const env = { TAP_TIMEOUT: String(TIMEOUT_S) }
      const timeoutMs = (TIMEOUT_S + 10) * 1000
      const { code, output } = await run(node, [file], { cwd: copy, env, timeoutMs })
      if (code === 0) counts.passed += 1
      else {
        counts.failed += 1
        process.stdout.write(`${file} on Node.js ${VERSION}:\n${output.slice(-4000)}\n`)
      }
    }
  }
  await Promise.all([worker(), worker()])
  return counts
}

/** A second installation, since add-ons are built for one version. Kept for the next run. */
async function copyProject() {
  const copy = join(ROOT, 'node_modules/.cache/node-24')
  mkdirSync(copy, { recursive: true })
  for (const name of ['.test-build', 'test', 'docs']) {
    rmSync(join(copy, name), { recursive: true, force: true })
    await must('cp', ['-a', join(ROOT, name), copy])
  }
  const lock = join(copy, 'package-lock.json')
  const known = existsSync(lock) ? readFileSync(lock, 'utf8') : ''
  for (const name of ['package.json', 'package-lock.json', 'openapi.yaml', '.npmrc']) {
    await must('cp', ['-a', join(ROOT, name), copy])
  }
  if (!existsSync(join(copy, 'node_modules')) || known !== readFileSync(lock, 'utf8')) {
    await must('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline'], {
      cwd: copy,
    })
  }
  return copy
}

async function isBuiltFor(node, cwd) {
  const load = "new (require('better-sqlite3'))(':memory:').close(); require('pkcs11js')"
  return (await run(node, ['-e', load], { cwd })).code === 0
}
