// Tests compose.yaml without a container engine. It runs the commands of docker/README.md, including the unmodified
// compose-init.sh, with a `docker` command that runs each container as pod.mjs does: with its volumes, its user and a
// read-only root file system. The image is not built.
// SPDX-License-Identifier: Apache-2.0
import { chmodSync, cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join, resolve } from 'node:path'
import { parse } from 'yaml'
import { startPostgres } from './chart-site.mjs'
import { createNetwork, createPod, layOutImage } from './pod.mjs'
import { ROOT, run } from './process.mjs'
import { checkServing, until } from './serve-check.mjs'
import { findCommand, shownCommands } from './shown-commands.mjs'

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
    const commands = shownCommands('docker/README.md', 'With Docker Compose')
    const env = { PATH: `${join(place, 'bin')}:${process.env.PATH}` }
    const type = async (command) => {
      const { code, output } = await run('sh', ['-c', command], { env, cwd: place })
      if (code !== 0) throw new Error(`${command} ended with ${code}:\n${output}`)
      return output
    }
    const up = findCommand(commands, / up --build --detach$/)
    const isMade = await check('compose: the commands of the page, up to the start', async () => {
      for (const command of commands.slice(0, up)) await type(command)
      return `${up} commands`
    })
    if (!isMade) return
    await check('compose: both proxies become ready', async () => {
      await type(commands[up])
      for (const pod of site.pods)
        await until(
          () => pod.isReady(),
          pod.name,
          () => pod.output(),
        )
      return `${site.pods.length} proxies`
    })
    await check('compose: the rest of the page: doctor, a kill, a restore', async () => {
      const rest = commands.slice(up + 1)
      const doctor = findCommand(rest, / doctor /)
      rest[doctor] += ' --idle 1 --requests 20'
      const said = await rest.reduce(
        async (before, command) => (await before) + (await type(command)),
        Promise.resolve(''),
      )
      for (const word of [/Encrypt/, /revoked/]) if (!word.test(said)) throw new Error(said)
      return `${rest.length} commands`
    })
    const file = join(place, 'docker/compose/etc/kms-console.json')
    const credential = JSON.parse(readFileSync(file, 'utf8'))
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
 * Creates those files of a clone that compose-init.sh needs, and a `docker` command that forwards its calls to this
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
    response.end(await docker(site, JSON.parse(body)))
  } catch (error) {
    response.writeHead(500).end(error.stack)
  }
}

/** Executes the `docker` calls from compose-init.sh and docker/README.md. Any other call is an error. */
function docker(site, words) {
  const call = CALLS.find(({ words: start }) => start.every((word, i) => word === words[i]))
  if (call === undefined) throw new Error(`not known: docker ${words.join(' ')}`)
  return call.execute(site, words.slice(call.words.length))
}

const COMPOSE = ['compose', '-f', 'docker/compose.yaml']
const CALLS = [
  { words: [...COMPOSE, 'build', 'proxy-1'], execute: () => '' },
  { words: [...COMPOSE, 'up', '-d', '--wait', 'postgres'], execute: startDatabase },
  { words: [...COMPOSE, 'up', '--build', '--detach'], execute: startProxies },
  { words: [...COMPOSE, 'run', '--rm', '--no-deps'], execute: runService },
  { words: [...COMPOSE, 'exec', 'proxy-1'], execute: executeInProxy },
  { words: ['run', '--rm', '--workdir', '/out', '--user'], execute: runImage },
]

async function startDatabase(site) {
  const { place, network } = site
  const password = readFileSync(join(place, 'docker/compose/etc/postgres-password'), 'utf8')
  site.postgres = await startPostgres(`${place}-postgres`, network.host, {
    password,
    isPlain: true,
  })
  return ''
}

async function startProxies(site) {
  for (const name of ['proxy-1', 'proxy-2']) {
    const pod = await createContainer(site, name, ['serve'])
    site.pods.push(pod)
    await pod.start()
  }
  return ''
}

async function runService(site, words) {
  const [volumes, [service, ...args]] = takeVolume(words)
  const pod = await createContainer(site, service, args, volumes)
  await pod.runToEnd()
  return pod.output()
}

async function executeInProxy(site, words) {
  const { code, output } = await site.pods[0].exec(words)
  if (code !== 0) throw new Error(output)
  return output
}

/** Runs the image itself, as `docker run --user UID:GID --volume FROM:AT latchkey` does. */
async function runImage(site, [ids, ...words]) {
  const [uid, gid] = ids.split(':').map(Number)
  const [volumes, [image, ...args]] = takeVolume(words)
  if (image !== 'latchkey' || volumes.length === 0) throw new Error(`not known: run ${words}`)
  const pod = await createOne(site, 'image', { args, volumes, user: { uid, gid, fsGroup: gid } })
  await pod.runToEnd()
  return pod.output()
}

const takeVolume = ([flag, volume, ...words]) =>
  flag === '--volume' ? [[volume], words] : [[], [flag, volume, ...words]]

/** Turns a service into a pod with a single container. */
async function createContainer(site, name, args, more = []) {
  const { services } = parse(readFileSync(join(site.place, 'docker/compose.yaml'), 'utf8'), {
    merge: true,
  })
  const { volumes, user, read_only: isReadOnly } = services[name]
  if (user !== `${USER.uid}:${USER.gid}` || isReadOnly !== true)
    throw new Error(`${name} does not run as ${USER.uid} on a read-only root`)
  return createOne(site, name, { args, volumes: [...volumes, ...more], user: USER })
}

function createOne({ place, network, image }, name, { args, volumes, user }) {
  const mounts = volumes.map((text, i) => {
    const [from, at = from, mode] = text.split(':')
    const isBound = /^[./]/.test(from) && at !== from
    return {
      volume: isBound
        ? { name: `v${i}`, hostPath: { path: resolve(place, 'docker', from) } }
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
  return createPod({
    ...{ spec, name, folder, image, network, objects: [], user },
    claims: join(place, 'claims'),
  })
}
