/**
 * Checks that the files in docker/ are consistent: mounted paths exist, build stages are defined, and configurations
 * are valid.
 */
// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process'
import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { parse } from 'yaml'
import { loadConfig } from '../../src/config/load.ts'
import { temporaryFolder } from '../support/cli.ts'
import { exists, read, resolveFrom, ROOT } from '../support/repository.ts'

const run = promisify(execFile)
const COMPOSE = 'docker/compose.yaml'
const DOCKERFILE = read('docker/Dockerfile')

interface Service {
  readonly build?: { readonly dockerfile: string; readonly target: string }
  readonly volumes?: readonly string[]
}

const { services } = parse(read(COMPOSE), { merge: true }) as { services: Record<string, Service> }

void t.test('compose.yaml mounts files that exist or that compose-init.sh creates', (t) => {
  const init = read('docker/compose-init.sh')
  const mounted = Object.values(services)
    .flatMap(({ volumes = [] }) => volumes)
    .filter((volume) => volume.startsWith('./'))
    .map((volume) => resolveFrom(COMPOSE, volume.split(':')[0] ?? ''))
  t.ok(mounted.length >= 8)
  t.match(init, /\netc=docker\/compose\/etc\n/)
  for (const path of mounted) {
    const isMade = path === 'docker/compose/etc' || init.includes(`$etc/${path.slice(19)}`)
    t.ok(exists(path) || isMade, path)
  }
  t.end()
})

void t.test(
  'compose.yaml builds stages of the Dockerfile, whose last stage is the default',
  (t) => {
    const stages = [...DOCKERFILE.matchAll(/^FROM .* AS (\w+)$/gm)].map(([, name]) => name)
    t.equal(stages.at(-1), 'latchkey')
    const built = Object.values(services).flatMap(({ build }) =>
      build === undefined ? [] : [build],
    )
    t.ok(built.length >= 3)
    for (const { dockerfile, target } of built) {
      t.ok(exists(dockerfile), dockerfile)
      t.ok(stages.includes(target), target)
    }
    t.end()
  },
)

void t.test('files that the Dockerfile copies exist and are not excluded by .dockerignore', (t) => {
  const ignore = read('docker/Dockerfile.dockerignore').split('\n')
  const copied = [...DOCKERFILE.matchAll(/^COPY (?!--)(.*) \S+$/gm)].flatMap(([, sources = '']) =>
    sources.split(' '),
  )
  t.ok(copied.length > 10)
  for (const path of copied) {
    t.ok(exists(path), path)
    t.ok(ignore.includes(`!${path}`), `${path} is let through`)
  }
  t.end()
})

void t.test("the chart's configuration is valid", async (t) => {
  const { config } = parse(read('docker/helm/latchkey/values.yaml')) as { config: unknown }
  const folder = await temporaryFolder(t)
  const secrets = join(folder, 'secrets')
  await mkdir(secrets)
  for (const name of ['postgres-password', 'passphrase']) {
    await writeFile(join(secrets, name), 'a secret of some length', { mode: 0o600 })
  }
  const file = join(folder, 'latchkey.yaml')
  await writeFile(file, JSON.stringify(config).replaceAll('/run/latchkey/secrets', secrets))
  t.equal((await loadConfig(file, {})).store.postgres?.host, 'postgres')
})

void t.test('Prometheus accepts the scrape configuration for compose.yaml', async (t) => {
  const folder = await temporaryFolder(t)
  for (const file of ['docker/compose/prometheus.yml', 'docker/prometheus/alerts.yml']) {
    await copyFile(join(ROOT, file), join(folder, file.slice(dirname(file).length + 1)))
  }
  const { stdout } = await run('promtool', ['check', 'config', join(folder, 'prometheus.yml')])
  t.match(stdout, /SUCCESS: .*prometheus\.yml is valid/)
})

void t.test('systemd considers the unit valid and well sandboxed', async (t) => {
  const folder = await temporaryFolder(t)
  const unit = join(folder, 'latchkey.service')
  // The path to Node.js differs between machines.
  const text = read('docker/systemd/latchkey.service').replace('/usr/bin/node', process.execPath)
  await writeFile(unit, text)
  const { stderr } = await run('systemd-analyze', ['verify', unit])
  t.equal(stderr, '')
  const { stdout } = await run('systemd-analyze', [
    ...['security', '--offline=yes', '--threshold=20', '--no-pager', unit],
  ])
  t.match(stdout, /Overall exposure level for latchkey\.service: 1\.\d OK/)
})

void t.test('the CBOM is valid CycloneDX, and every component has a unique name', (t) => {
  const bill = JSON.parse(read('docker/release/cbom.cdx.json')) as {
    readonly bomFormat: string
    readonly components: readonly { readonly type: string; readonly 'bom-ref': string }[]
    readonly dependencies: readonly { readonly dependsOn: readonly string[] }[]
  }
  t.equal(bill.bomFormat, 'CycloneDX')
  const refs = bill.components.map((one) => one['bom-ref'])
  t.ok(bill.components.every(({ type }) => type === 'cryptographic-asset') && refs.length > 10)
  t.equal(new Set(refs).size, refs.length)
  t.same(bill.dependencies[0]?.dependsOn, refs)
  t.end()
})

void t.test('the release workflow refers to existing files and stages', (t) => {
  const text = read('docker/release/release.yml')
  const { jobs } = parse(text) as {
    jobs: { images: { strategy: { matrix: { target: readonly string[] } } } }
  }
  for (const target of jobs.images.strategy.matrix.target)
    t.match(DOCKERFILE, new RegExp(`^FROM .* AS ${target}$`, 'm'))
  const named = [...text.matchAll(/docker\/[\w./-]+/g)].map(([path]) => path)
  for (const path of named.filter((one) => /^docker\/(release|Dockerfile)/.test(one)))
    t.ok(exists(path), path)
  t.end()
})
