// Runs buildah with its own storage below node_modules/.cache, without a container engine or namespaces.
// SPDX-License-Identifier: Apache-2.0
import { existsSync, mkdirSync, rmSync, statfsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { must, ROOT, run } from './process.mjs'

const STORAGE = join(ROOT, 'node_modules/.cache/container/storage')
const OVERLAYFS_MAGIC = 0x794c7630
/**
 * The overlay driver does not work on an overlay file system. Elsewhere, it is faster than vfs, which copies all files
 * for each layer.
 */
const DRIVER = statfsSync(ROOT).type === OVERLAYFS_MAGIC ? 'vfs' : 'overlay'
const GLOBAL = [
  ...['--root', join(STORAGE, 'root')],
  ...['--runroot', join(STORAGE, 'run')],
  ...['--storage-driver', DRIVER],
]
/**
 * Timeout for a build, in milliseconds. It is generous, because a build on a busy machine can take more than 15
 * minutes.
 */
const TIMEOUT_MS = 3_600_000
/** This host's npm configuration, which names the package registry. */
const NPMRC = join(homedir(), '.npmrc')

/** Returns the arguments for a buildah call: storage options, then the operands. */
export function buildahArguments(...operands) {
  mkdirSync(STORAGE, { recursive: true })
  return [...GLOBAL, ...operands]
}

export async function buildah(...operands) {
  return (await must('buildah', buildahArguments(...operands), { timeoutMs: TIMEOUT_MS })).trim()
}

/** Removes all images and containers. */
export async function removeStorage() {
  // The overlay driver leaves its folder mounted on itself, and a folder that is a mount point cannot be removed.
  if (DRIVER === 'overlay') await run('umount', ['--recursive', join(STORAGE, 'root/overlay')])
  rmSync(STORAGE, { recursive: true, force: true })
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

/**
 * @param {{ target: string, tag: string, args: Record<string, string>, format?: 'docker' | 'oci', stages?:
 * Record<string, string> }} options `format`: `docker` images support health checks, `oci` images contain no random
 * ids; `stages`: images to use in place of build stages, by stage name
 */
export function buildImage({ target, tag, args, format = 'docker', stages = {} }) {
  return buildah(
    // Without cached layers, every build runs every command.
    ...['build', '--isolation', 'chroot', '--layers=false', '--format', format],
    // Use one fixed timestamp for the entire image, so that repeated builds have the same digest.
    ...['--timestamp', '0'],
    ...['-f', 'docker/Dockerfile', '--ignorefile', 'docker/Dockerfile.dockerignore'],
    ...Object.entries(args).flatMap(([name, value]) => ['--build-arg', `${name}=${value}`]),
    ...Object.entries(stages).flatMap(([stage, image]) => [
      ...['--build-context', `${stage}=container-image://${image}`],
    ]),
    ...(existsSync(NPMRC) ? ['--volume', `${NPMRC}:/root/.npmrc:ro`] : []),
    ...['--target', target, '-t', tag, '.'],
  )
}
