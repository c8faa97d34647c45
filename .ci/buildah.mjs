// Runs buildah with its own storage below node_modules/.cache, without a container engine or namespaces.
// SPDX-License-Identifier: Apache-2.0
import { existsSync, mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { must, ROOT, run } from './process.mjs'

const STORAGE = join(ROOT, 'node_modules/.cache/container/storage')
const GLOBAL = [
  '--root',
  join(STORAGE, 'root'),
  '--runroot',
  join(STORAGE, 'run'),
  '--storage-driver',
  'vfs',
]
/** npm's settings on this host, which say where its packages come from. */
const NPMRC = join(homedir(), '.npmrc')

/** Returns the arguments of a buildah call: its storage options, then the operands. */
export function buildahArguments(...operands) {
  mkdirSync(STORAGE, { recursive: true })
  return [...GLOBAL, ...operands]
}

export async function buildah(...operands) {
  return (await must('buildah', buildahArguments(...operands), { timeoutMs: 900_000 })).trim()
}

/** @param {string} folder a root file system @param {Record<string, string>} env */
export async function importImage(folder, name, env = {}) {
  const { code } = await run('buildah', buildahArguments('inspect', '--type', 'image', name))
  if (code === 0) return
  const container = await buildah('from', 'scratch')
  await buildah('add', '-q', container, folder, '/')
  for (const [key, value] of Object.entries(env)) {
    await buildah('config', '--env', `${key}=${value}`, container)
  }
  await buildah('commit', '-q', container, name)
  await buildah('rm', container)
}

/** @param {{ target: string, tag: string, args: Record<string, string> }} options */
export function buildImage({ target, tag, args }) {
  return buildah(
    // Builds without layers, because the vfs storage driver copies the whole file system for each layer.
    ...['build', '--isolation', 'chroot', '--layers=false', '--format', 'docker'],
    // Every timestamp in the image gets this value, so that two builds have the same digest.
    ...['--timestamp', '0'],
    ...['-f', 'docker/Dockerfile', '--ignorefile', 'docker/Dockerfile.dockerignore'],
    ...Object.entries(args).flatMap(([name, value]) => ['--build-arg', `${name}=${value}`]),
    ...(existsSync(NPMRC) ? ['--volume', `${NPMRC}:/root/.npmrc:ro`] : []),
    ...['--target', target, '-t', tag, '.'],
  )
}
