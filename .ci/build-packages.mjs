// Builds the .deb and .rpm packages, which include Node.js, with nfpm. If nfpm is not installed, it is compiled with
// Go.
// SPDX-License-Identifier: Apache-2.0
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { writeManual } from './manual.mjs'
import { buildAddOns, fetchNode, OWN_BINARIES } from './native.mjs'
import { VERSION as NODE } from './node-24.mjs'
import { has, must, ROOT, run } from './process.mjs'
import { setUp } from './setup.mjs'

const CACHE = join(ROOT, 'node_modules/.cache/packages')
const NFPM = 'github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2'
/** nfpm's names for processor architectures. nfpm converts them for each package format. */
const ARCHITECTURES = { x64: 'amd64', arm64: 'arm64' }
const LIBRARY = '/usr/lib/latchkey'

async function nfpm() {
  if (await has('nfpm')) return 'nfpm'
  const program = join(CACHE, 'nfpm')
  const env = { GOBIN: CACHE, GOFLAGS: '-mod=mod' }
  if (!existsSync(program)) await must('go', ['install', NFPM], { env })
  return program
}

/**
 * Installs the runtime dependencies for the Node.js version that the packages contain. The result is cached for the
 * next build.
 */
async function installModules(node) {
  const folder = join(CACHE, 'modules')
  mkdirSync(folder, { recursive: true })
  const lock = readFileSync(join(ROOT, 'package-lock.json'), 'utf8')
  const stamp = join(folder, 'stamp')
  const wanted = `${NODE}\n${lock}`
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return folder
  for (const name of ['package.json', 'package-lock.json', '.npmrc']) {
    copyFileSync(join(ROOT, name), join(folder, name))
  }
  await must('npm', ['ci', '--omit=dev', '--ignore-scripts', '--no-audit'], { cwd: folder })
  await buildAddOns({ node, cwd: folder })
  writeFileSync(stamp, wanted)
  return folder
}

/** Collects everything that nfpm packages in `folder`. */
async function stage(folder) {
  const prefix = await fetchNode(NODE)
  const modules = await installModules(join(prefix, 'bin/node'))
  rmSync(folder, { recursive: true, force: true })
  const source = join(folder, 'source')
  for (const name of [
    'dist',
    'docker',
    'package.json',
    'LICENSE',
    'openapi.yaml',
    ...OWN_BINARIES,
  ]) {
    cpSync(join(ROOT, name), join(source, name), { recursive: true })
  }
  copyFileSync(join(ROOT, 'docker/release/cbom.cdx.json'), join(source, 'cbom.cdx.json'))
  cpSync(join(modules, 'node_modules'), join(source, 'node_modules'), { recursive: true })
  const bill = await run(process.execPath, ['docker/sbom.mjs', ROOT, NODE])
  if (bill.code !== 0) throw new Error(bill.output)
  writeFileSync(join(source, 'sbom.cdx.json'), bill.stdout)
  const lib = join(folder, 'lib')
  await must(process.execPath, [join(ROOT, 'docker/lean.mjs'), source, lib])
  for (const name of [source, `${lib}-software`, join(lib, 'docker')]) {
    rmSync(name, { recursive: true, force: true })
  }
  mkdirSync(join(lib, 'bin'))
  copyFileSync(join(prefix, 'bin/node'), join(lib, 'bin/node'))
  chmodSync(join(lib, 'bin/node'), 0o755)
  const unit = readFileSync(join(ROOT, 'docker/systemd/latchkey.service'), 'utf8')
    .replace('/usr/bin/node', `${LIBRARY}/bin/node`)
    .replace('/opt/latchkey/dist', `${LIBRARY}/dist`)
    .replace('file:/opt/latchkey/README.md', 'man:latchkey(1)')
  writeFileSync(join(folder, 'latchkey.service'), unit)
  for (const [name, text] of Object.entries(await writeManual())) {
    const isPage = /\.\d$/.test(name)
    writeFileSync(join(folder, isPage ? `${name}.gz` : name), isPage ? gzipSync(text) : text)
  }
  copyFileSync(join(ROOT, 'docker/packages/latchkey'), join(folder, 'latchkey'))
  copyFileSync(join(ROOT, 'LICENSE'), join(folder, 'LICENSE'))
}

/**
 * Returns the version of the C library that Node.js and the native add-ons in `folder` need. The host's compiler sets it:
 * build on the oldest distribution that the packages should support.
 */
async function findGlibc(folder) {
  const files = readdirSync(folder, { recursive: true }).filter((name) => name.endsWith('.node'))
  const versions = await Promise.all(
    ['bin/node', ...files].map(async (name) => {
      const symbols = await must('objdump', ['-T', join(folder, name)])
      return [...symbols.matchAll(/GLIBC_2\.(\d+)/g)].map(([, minor]) => Number(minor))
    }),
  )
  return `2.${Math.max(...versions.flat())}`
}

/** @returns {Promise<string[]>} the packages' paths */
export async function buildPackages(target, { version, formats = ['deb', 'rpm'] }) {
  const arch = ARCHITECTURES[process.arch]
  if (arch === undefined) throw new Error(`no packages for ${process.arch}`)
  mkdirSync(target, { recursive: true })
  const folder = join(CACHE, 'stage')
  await stage(folder)
  const glibc = await findGlibc(join(folder, 'lib'))
  const env = { ARCH: arch, VERSION: version, STAGE: folder, GLIBC: glibc }
  const config = readFileSync(join(ROOT, 'docker/packages/nfpm.yaml'), 'utf8').replace(
    /\$\{(\w+)\}/g,
    (_, name) => env[name],
  )
  const file = join(CACHE, 'nfpm.yaml')
  writeFileSync(file, config)
  const packages = []
  for (const format of formats) {
    const output = await must(await nfpm(), [
      ...['package', '--config', file, '--packager', format, '--target', target],
    ])
    packages.push(/created package: (\S+)/.exec(output)?.[1] ?? output)
  }
  return packages
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [target = join(ROOT, 'packages')] = process.argv.slice(2)
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  await setUp((text) => process.stderr.write(text))
  for (const path of await buildPackages(target, { version })) process.stdout.write(`${path}\n`)
}
