// Builds both images and uses them as a cluster would: not as root, with a read-only root file system, mTLS, a kill and
// SIGTERM. It is separate from `npm run check`, because it takes minutes and needs root. The last line is
// `N passed, N failed`.
// SPDX-License-Identifier: Apache-2.0
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { countChecks } from './counted-checks.mjs'
import { buildah, buildImage, importImage } from './buildah.mjs'
import { makeBases } from './container-base.mjs'
import { checkImage } from './container-image.mjs'
import { useImage } from './container-use.mjs'
import { installPrograms, ROOT } from './process.mjs'
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

const { check, fail, finish } = countChecks()

async function makeImages() {
  const bases = await makeBases(NODE_VERSION)
  await importImage(bases.debian, DEBIAN_IMAGE)
  await importImage(bases.node, NODE_IMAGE, {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    NODE_EXTRA_CA_CERTS: '/etc/ssl/certs/ca-certificates.crt',
  })
}

async function digestOf(name) {
  // This digest covers the configuration and the layers.
  return JSON.parse(await buildah('inspect', '--type', 'image', name)).FromImageID
}

/** Runs `work` on a container's root folder, and removes the container. */
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
  const args = { NODE_IMAGE, DEBIAN_IMAGE, VERSION: 'check', REVISION: 'check' }
  for (const target of ['latchkey', 'pkcs11']) {
    const name = `localhost/${target}-check`
    const built = await check(`docker/Dockerfile builds the target ${target}`, () =>
      buildImage({ target, tag: name, args }).then(() => undefined),
    )
    if (!built) continue
    if (target === 'latchkey') {
      await check(`${target}: a second build has the same digest`, async () => {
        const again = `${name}-again`
        await buildImage({ target, tag: again, args })
        const [first, second] = [await digestOf(name), await digestOf(again)]
        if (first !== second) throw new Error(`${first} and ${second}`)
        return first
      })
    }
    await withContainer(name, async (container, folder) => {
      const image = await checkImage({ target, name, folder, check })
      if (image !== undefined) await useImage({ target, image, container, folder, check })
    })
  }
}

try {
  await main()
} catch (error) {
  fail(error)
}
if (process.env.KEEP === undefined) {
  rmSync(join(ROOT, 'node_modules/.cache/container/storage'), { recursive: true, force: true })
}
finish()
