// Builds replacements for the base images if no image registry is available. One is a Debian system created by
// debootstrap from the host's apt mirror. The other adds Node.js and npm from the package registry, laid out as in the
// official image.
// SPDX-License-Identifier: Apache-2.0
import { cpSync, existsSync, mkdirSync, rmSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fetchNode } from './native.mjs'
import { must, ROOT } from './process.mjs'

const CACHE = join(ROOT, 'node_modules/.cache/container')
const SUITE = 'bookworm'
/** Files that the official slim images also omit. */
const LEFT_OUT = [
  ...['var/cache/apt/archives', 'var/lib/apt/lists'],
  ...['doc', 'info', 'lintian', 'locale', 'man'].map((part) => join('usr/share', part)),
]
/** The npm version in the official Node.js image. */
const NPM_VERSION = '11.19.1'

/** @returns {Promise<{ debian: string, node: string }>} folders with the root file systems */
export async function makeBases(nodeVersion) {
  const debian = await makeDebian()
  const node = join(CACHE, `node-${nodeVersion}`)
  if (!existsSync(join(node, 'usr/local/bin/npm'))) {
    rmSync(node, { recursive: true, force: true })
    await must('cp', ['-a', debian, node])
    await addAptSources(node)
    await addNode(node, nodeVersion)
  }
  return { debian, node }
}

/**
 * Creates a Debian root file system once and reuses it for later runs.
 * @returns {Promise<string>} its path
 */
export async function makeDebian() {
  mkdirSync(CACHE, { recursive: true })
  const folder = join(CACHE, 'debian')
  if (existsSync(join(folder, 'etc/debian_version'))) return folder
  rmSync(folder, { recursive: true, force: true })
  const unfinished = `${folder}.unfinished`
  rmSync(unfinished, { recursive: true, force: true })
  const args = ['--variant=minbase', '--include=ca-certificates', SUITE, unfinished]
  await must('debootstrap', [...args, await findMirror()], { timeoutMs: 1_800_000 })
  for (const part of LEFT_OUT) rmSync(join(unfinished, part), { recursive: true, force: true })
  // Containers also need this host's CA certificates, in case a TLS proxy sits in front of the package registries.
  await must('cp', ['-L', '/etc/ssl/certs/ca-certificates.crt', join(unfinished, 'etc/ssl/certs')])
  await must('mv', [unfinished, folder])
  return folder
}

/** Finds the mirror that provides most of this host's packages. */
async function findMirror() {
  const sites = (await must('apt-get', ['indextargets', '--format', '$(SITE)'])).trim().split('\n')
  const counts = new Map()
  for (const site of sites) counts.set(site, (counts.get(site) ?? 0) + 1)
  const [most] = [...counts].sort(([, a], [, b]) => b - a)
  if (most === undefined) throw new Error('apt has no sources: run apt-get update')
  return most[0]
}

async function addAptSources(root) {
  rmSync(join(root, 'etc/apt/sources.list'), { force: true })
  for (const part of ['sources.list', 'sources.list.d', 'trusted.gpg.d', 'keyrings']) {
    const from = join('/etc/apt', part)
    if (existsSync(from)) cpSync(from, join(root, 'etc/apt', part), { recursive: true })
  }
}

async function addNode(root, version) {
  const prefix = await fetchNode(version)
  for (const part of ['bin', 'include']) {
    cpSync(join(prefix, part), join(root, 'usr/local', part), { recursive: true })
  }
  const npm = join(CACHE, `npm-${NPM_VERSION}`)
  if (!existsSync(join(npm, 'node_modules/npm'))) {
    await must('npm', [
      ...['install', '--prefix', npm, '--no-save', '--no-package-lock', '--ignore-scripts'],
      `npm@${NPM_VERSION}`,
    ])
  }
  const at = join(root, 'usr/local/lib/node_modules/npm')
  mkdirSync(dirname(at), { recursive: true })
  cpSync(join(npm, 'node_modules/npm'), at, { recursive: true })
  for (const name of ['npm', 'npx']) {
    symlinkSync(`../lib/node_modules/npm/bin/${name}-cli.js`, join(root, 'usr/local/bin', name))
  }
  await must('chroot', [root, 'useradd', '-u', '1000', '-m', 'node'])
}
