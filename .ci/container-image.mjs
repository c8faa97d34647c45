// Checks a built image without running it: its size, its settings and its bill of materials.
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { buildah } from './buildah.mjs'
import { must } from './process.mjs'

const MAX_BYTES = 250_000_000

/**
 * @param {{ target: string, name: string, folder: string, check: Function }} options
 * @returns {Promise<{ entrypoint: string[], command: string[], healthcheck: string[] } |
 * undefined>} what the image runs
 */
export async function checkImage({ target, name, folder, check }) {
  let image
  await check(`${target}: the image is under 250 MB`, async () => {
    const bytes = Number((await must('du', ['-s', '--block-size=1', folder])).split('\t')[0])
    const size = `${Math.round(bytes / 1e6)} MB`
    if (bytes > MAX_BYTES) throw new Error(size)
    return size
  })
  await check(`${target}: user, signal, labels, health check`, async () => {
    const { config } = JSON.parse(await buildah('inspect', '--type', 'image', name)).Docker
    const label = (key) => config.Labels[`org.opencontainers.image.${key}`]
    const [kind, ...healthcheck] = config.Healthcheck.Test
    const found = [config.User, config.StopSignal, label('version'), label('revision'), kind]
    const expected = ['1000:1000', 'SIGTERM', 'check', 'check', 'CMD']
    if (found.join() !== expected.join()) throw new Error(`${found} instead of ${expected}`)
    for (const key of ['title', 'description', 'licenses']) {
      if (!label(key)) throw new Error(`the label ${key} is missing`)
    }
    image = { entrypoint: config.Entrypoint, command: config.Cmd, healthcheck }
  })
  await check(`${target}: the bill of materials is that of its packages`, async () => {
    const bill = JSON.parse(readFileSync(join(folder, 'opt/latchkey/sbom.cdx.json'), 'utf8'))
    const listed = bill.components.map(({ purl }) => purl)
    const found = await findPackages(join(folder, 'opt/latchkey/node_modules'))
    const differing = [
      ...listed.filter((one) => !found.has(one)).map((one) => `listed: ${one}`),
      ...[...found].filter((one) => !listed.includes(one)).map((one) => `not listed: ${one}`),
    ]
    if (differing.length > 0) throw new Error(differing.join('\n'))
    return `${listed.length} packages`
  })
  return image
}

/** Returns the package URLs of installed packages. */
async function findPackages(modules) {
  const manifests = (await must('find', [modules, '-name', 'package.json'])).trim().split('\n')
  const found = manifests
    .filter((file) => /node_modules\/(@[^/]+\/)?[^/]+\/package\.json$/.test(file))
    .map((file) => JSON.parse(readFileSync(file, 'utf8')))
    .map(({ name, version }) => `pkg:npm/${name.replace('@', '%40')}@${version}`)
  return new Set(found)
}
