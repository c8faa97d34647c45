// Tests compose.yaml without a container engine: runs the unmodified compose-init.sh with a `docker` command that
// runs each container as pod.mjs does, and then the two proxies with their volumes, their user and a read-only root.
// SPDX-License-Identifier: Apache-2.0
import { chmodSync, cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { parse } from 'yaml'
import { startPostgres } from './chart-site.mjs'
import { createNetwork, createPod, layOutImage } from './pod.mjs'
import { must, ROOT, run } from './process.mjs'
import { checkServing, until } from './serve-check.mjs'

const USER = { uid: 1000, gid: 1000, fsGroup: 1000 }
const PING = 8080

/** @param {{ folder: string, check: Function }} options */
export async function serveCompose({ folder, check }) {
  const place = join(folder, 'compose')
  const network = await createNetwork((process.pid % 1000) + 1000)
  const site = { place, network, pods: [], postgres: undefined, image: undefined }
  const server = createServer((request, response) => void answer(site, request, response))
  try {
    layOutClone(place)
    site.image = await layOutImage(join(place, 'image'), `${network.host} postgres\n`)
    await new Promise((resolve) => server.listen(join(place, 'docker.sock'), resolve))
    let credential
    const isMade = await check(
      'compose: compose-init.sh makes secrets, a store, a key, a credential',
      async () => {
        const env = { PATH: `${join(place, 'bin')}:${process.env.PATH}` }
        const { code, output } = await run('sh', [join(place, 'docker/compose-init.sh')], { env })
        if (code !== 0) throw new Error(output)
        credential = JSON.parse(/^\{[\s\S]*?^\}/m.exec(output)?.[0] ?? '')
      },
    )
    if (!isMade) return
    await check('compose: both proxies become ready', async () => {
      for (const name of ['proxy-1', 'proxy-2']) {
        const pod = await createContainer(site, name, ['serve'])
        site.pods.push(pod)
        await pod.start()
      }
      for (const pod of site.pods)
        await until(
          () => pod.isReady(),
          pod.name,
          () => pod.output(),
        )
    })
    await check('compose: a signed Encrypt at each, a kill, a restore', () =>
      checkServing({
        credential,
        keyId: 'demo-key',
        caFile: join(place, 'docker/compose/etc/ca.crt'),
        addresses: site.pods.map(({ address }) => ({ host: address, port: 8443 })),
        execute: (words) => site.pods[0].exec(['latchkey', ...words]),
      }),
    )
    await check('compose: SIGTERM ends each proxy with 0', async () => {
      const codes = await Promise.all(site.pods.map((pod) => pod.stop()))
      if (codes.some((code) => code !== 0)) throw new Error(codes.join())
    })
  } finally {
    server.close()
    for (const pod of site.pods) pod.kill()
    await site.postgres?.stop()
    await network.close()
  }
}

/**
 * Creates the files of a clone that compose-init.sh needs, and a `docker` command that forwards its calls to this
 * process.
 */
function layOutClone(place) {
  mkdirSync(join(place, 'bin'), { recursive: true })
  chmodSync(place, 0o755)
  const keep = (path) => !path.includes('docker/compose/etc')
  cpSync(join(ROOT, 'docker'), join(place, 'docker'), { recursive: true, filter: keep })
  for (const name of ['dist', 'node_modules', 'package.json', 'openapi.yaml'])
    symlinkSync(join(ROOT, name), join(place, name))
  const script = `#!${process.execPath}
const body = JSON.stringify(process.argv.slice(2))
import { request } from 'node:http'
request({ socketPath: ${JSON.stringify(join(place, 'docker.sock'))}, method: 'POST' }, (answer) => {
  process.exitCode = answer.statusCode === 200 ? 0 : 1
  answer.pipe(process.stdout)
}).end(body)
`
  writeFileSync(join(place, 'bin/docker'), script, { mode: 0o755 })
}

async function answer(site, request, response) {
  let body = ''
  for await (const chunk of request) body += chunk
  try {
    const text = await compose(site, JSON.parse(body))
    response.end(text)
  } catch (error) {
    response.writeHead(500).end(error.stack)
  }
}

/** Executes the `docker compose` calls of compose-init.sh. Any other call is an error. */
async function compose(site, words) {
  const [name, flag, file, command, ...rest] = words
  if ([name, flag, file].join(' ') !== 'compose -f docker/compose.yaml')
    throw new Error(`not known: docker ${words.join(' ')}`)
  if (command === 'up' && rest.join(' ') === '-d --wait postgres') {
    const { place, network } = site
    const password = readFileSync(join(place, 'docker/compose/etc/postgres-password'), 'utf8')
    const options = { password, isPlain: true }
    site.postgres = await startPostgres(`${place}-postgres`, network.host, options)
    return ''
  }
  if (command === 'run' && rest.slice(0, 2).join(' ') === '--rm --no-deps') {
    const [service, ...operands] = rest.slice(2)
    const pod = await createContainer(site, service, operands)
    await pod.runToEnd()
    return pod.output()
  }
  throw new Error(`not known: docker ${words.join(' ')}`)
}

/** Turns a service into a pod with one container. */
async function createContainer({ place, network, image }, name, args) {
  const { services } = parse(readFileSync(join(place, 'docker/compose.yaml'), 'utf8'), {
    merge: true,
  })
  const { volumes, user, read_only: isReadOnly } = services[name]
  if (user !== `${USER.uid}:${USER.gid}` || isReadOnly !== true)
    throw new Error(`${name} does not run as ${USER.uid} on a read-only root`)
  const mounts = volumes.map((text, i) => {
    const [from, at = from, mode] = text.split(':')
    const isBound = from.startsWith('.')
    return {
      volume: isBound
        ? { name: `v${i}`, hostPath: { path: join(place, 'docker', from) } }
        : undefined,
      mount: { name: `v${i}`, mountPath: at, readOnly: mode === 'ro' },
    }
  })
  const container = {
    ...{ name: 'main', args },
    volumeMounts: mounts.map(({ mount }) => mount),
    ports: [{ name: 'ping', containerPort: PING }],
    readinessProbe: { httpGet: { path: '/ping' } },
  }
  const spec = {
    volumes: mounts.flatMap(({ volume }) => volume ?? []),
    containers: [container],
  }
  const folder = join(place, 'pods', `${name}-${String(Math.random()).slice(2)}`)
  await must('chown', ['-R', '1000:1000', join(place, 'docker/compose/etc')])
  return createPod({
    ...{ spec, name, folder, image, network, objects: [], user: USER },
    claims: join(place, 'claims'),
  })
}
