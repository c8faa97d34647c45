// Checks a built image without running it: its size, configuration and bill of materials.
// SPDX-License-Identifier: Apache-2.0
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { buildah } from './buildah.mjs'
import { must } from './process.mjs'

const MAX_BYTES = 250_000_000

/**
 * @param {{ target: string, name: string, folder: string, node: { version: string, base: string }, check: Function }}
 * options `node`: the Node.js version, and the root file system of the image that Node.js comes from
 * @returns {Promise<{ entrypoint: string[], command: string[], healthcheck: string[] } | undefined>} what the image
 * runs
 */
export async function checkImage({ target, name, folder, node, check }) {
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
    const bill = readBill(folder)
    const listed = bill.components
      .map(({ purl }) => purl)
      .filter((purl) => purl.startsWith('pkg:npm/'))
    const found = await findPackages(join(folder, 'opt/latchkey/node_modules'))
    const differing = [
      ...listed.filter((one) => !found.has(one)).map((one) => `listed: ${one}`),
      ...[...found].filter((one) => !listed.includes(one)).map((one) => `not listed: ${one}`),
    ]
    if (differing.length > 0) throw new Error(differing.join('\n'))
    return `${listed.length} packages`
  })
  await check(`${target}: the bill of materials has Node.js and the Debian packages`, async () => {
    const listed = readBill(folder).components.filter(({ purl }) => !purl.startsWith('pkg:npm/'))
    const found = new Set(listed.map(({ name, version }) => `${name} ${version}`))
    const expected = [`node ${node.version}`, ...(await findDebianPackages(folder, node.base))]
    const missing = expected.filter((one) => !found.has(one))
    if (missing.length > 0) throw new Error(`not listed: ${missing.join(', ')}`)
    if (!listed.some(({ name }) => name === 'tini')) throw new Error('not listed: tini')
    return `${listed.length} packages`
  })
  return image
}

const readBill = (folder) =>
  JSON.parse(readFileSync(join(folder, 'opt/latchkey/sbom.cdx.json'), 'utf8'))

/**
 * Returns `NAME VERSION` for each Debian package in an image. An image without a dpkg database is compared with the
 * base image: a package counts if it installs a shared library whose file name also occurs in the image.
 */
async function findDebianPackages(folder, base) {
  const own = join(folder, 'var/lib/dpkg/status')
  const status = readFileSync(existsSync(own) ? own : join(base, 'var/lib/dpkg/status'), 'utf8')
  const field = (text, name) => new RegExp(`^${name}: (.*)$`, 'm').exec(text)?.[1]
  const installed = status
    .split('\n\n')
    .filter((text) => field(text, 'Status')?.endsWith(' installed'))
    .map((text) => [field(text, 'Package'), field(text, 'Version')])
  if (existsSync(own)) return installed.map((one) => one.join(' '))
  const libraries = (
    await must('find', [folder, '-path', '*/opt', '-prune', '-o', '-name', '*.so.*', '-print'])
  )
    .trim()
    .split('\n')
    .map((file) => `/${basename(file)}\n`)
  if (libraries.length < 5) throw new Error(`only ${libraries.length} libraries`)
  const info = join(base, 'var/lib/dpkg/info')
  const owners = new Set(
    readdirSync(info)
      .filter((name) => name.endsWith('.list'))
      .filter((name) => {
        const list = readFileSync(join(info, name), 'utf8')
        return libraries.some((one) => list.includes(one))
      })
      .map((name) => name.replace(/(:[a-z0-9]+)?\.list$/, '')),
  )
  return installed.filter(([name]) => owners.has(name)).map((one) => one.join(' '))
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
