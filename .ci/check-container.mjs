// Builds each image twice, and checks that both builds have the same digest. Then runs the images as a cluster would:
// as a non-root user, with a read-only root file system and mTLS. Also tests a kill, SIGTERM and the KMS emulator.
// These checks are not part of `npm run check`, because they take minutes and require root. The last line is `N passed,
// N failed`.
// SPDX-License-Identifier: Apache-2.0
import { countChecks } from './counted-checks.mjs'
import { buildah, buildImage, importImage, removeStorage } from './buildah.mjs'
import { makeBases } from './container-base.mjs'
import { checkImage } from './container-image.mjs'
import { useKms } from './container-kms.mjs'
import { useImage } from './container-use.mjs'
import { installPrograms } from './process.mjs'
import { setUp } from './setup.mjs'

const NODE_VERSION = '24.18.1'
const PROGRAMS = {
  buildah: 'buildah',
  debootstrap: 'debootstrap',
  openssl: 'openssl',
  curl: 'curl',
}
const NODE_IMAGE = 'localhost/latchkey-base-node'
const DEBIAN_IMAGE = 'localhost/latchkey-base-debian'

/** Image of the stage that compiles Latchkey. It is built only once per round, because all targets copy from it. */
const COMPILED = 'localhost/latchkey-compiled'
const ARGS = { NODE_IMAGE, DEBIAN_IMAGE, VERSION: 'check', REVISION: 'check' }
const ALL_TARGETS = ['latchkey', 'kms', 'pkcs11']
/** Targets to build: those named by the operands, or all of them by default. */
const TARGETS = process.argv.length > 2 ? process.argv.slice(2) : ALL_TARGETS

const { check, fail, finish } = countChecks()

/** Node.js version in the images, and the root file system of the local image that replaces the public base image. */
const node = { version: NODE_VERSION, base: '' }

async function makeImages() {
  const bases = await makeBases(NODE_VERSION)
  node.base = bases.node
  await importImage(bases.debian, DEBIAN_IMAGE)
  await importImage(bases.node, NODE_IMAGE, {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    NODE_EXTRA_CA_CERTS: '/etc/ssl/certs/ca-certificates.crt',
  })
}

async function digestOf(name) {
  // The image digest covers the configuration and the layers.
  return JSON.parse(await buildah('inspect', '--type', 'image', name)).FromImageID
}

const nameOf = (target) => `localhost/${target}-check`

/**
 * Builds everything from scratch.
 * @returns the digest of each target whose build succeeded
 */
async function buildAll(round) {
  const digests = {}
  const options = { args: ARGS, format: 'oci' }
  const isCompiled = await check(`docker/Dockerfile compiles${round}`, async () => {
    await buildImage({ ...options, target: 'root', tag: COMPILED })
  })
  if (!isCompiled) return digests
  for (const target of TARGETS) {
    await check(`docker/Dockerfile builds the target ${target}${round}`, async () => {
      await buildImage({ ...options, target, tag: nameOf(target), stages: { root: COMPILED } })
      digests[target] = await digestOf(nameOf(target))
      return digests[target]
    })
  }
  return digests
}

/** Builds everything twice, and compares the digests. @returns the targets whose build succeeded */
async function buildTwice() {
  const first = await buildAll('')
  const second = await buildAll(', again')
  for (const target of Object.keys(first)) {
    await check(`${target}: a second build has the same digest`, () => {
      if (first[target] !== second[target]) throw new Error(`${first[target]}, ${second[target]}`)
      return Promise.resolve()
    })
  }
  return Object.keys(second)
}

/** Runs `work` on a container's root folder, then removes the container. */
async function withContainer(image, work) {
  const container = await buildah('from', image)
  try {
    return await work(container, await buildah('mount', container))
  } finally {
    await buildah('rm', container)
  }
}

async function main() {
  const ready = await check('this host has what the check needs', async () => {
    if (process.getuid?.() !== 0) throw new Error('chroot isolation needs root')
    await setUp(() => {})
    await installPrograms(PROGRAMS)
  })
  if (!ready || !(await check('stand-ins for the base images', makeImages))) return
  const built = await buildTwice()
  for (const target of built) {
    const name = nameOf(target)
    await buildImage({ target, tag: name, args: ARGS, stages: { root: COMPILED } })
    await withContainer(name, async (container, folder) => {
      if (target === 'kms') return useKms({ name, container, check })
      const image = await checkImage({ target, name, folder, node, check })
      if (image !== undefined) await useImage({ target, image, container, folder, check })
    })
  }
}

try {
  await main()
} catch (error) {
  fail(error)
}
if (process.env.KEEP === undefined) await removeStorage()
finish()
