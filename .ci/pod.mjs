// Runs a rendered chart's pod without a cluster, as a node would: containers in order, volumes at their paths with
// their access modes, a read-only root file system, an arbitrary uid without an entry in /etc/passwd, and its own
// address. Instead of the image, it uses this host's /usr and the built project at /opt/latchkey.
// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process'
import { chmodSync, chownSync, copyFileSync, mkdirSync } from 'node:fs'
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { must, ROOT, run } from './process.mjs'

/**
 * The ids that OpenShift would assign: a uid from the namespace's range, the root group, and the range's first id as
 * fsGroup.
 */
const OPENSHIFT = { uid: 1_000_650_000, gid: 0, fsGroup: 1_000_650_000 }

/**
 * @param {{ spec: object, name: string, folder: string, image: string, objects: object[], network: object, claims?:
 * string, user?: object }} options `folder`: folder for the pod's files; `claims`: folder for volumes that outlive the
 * pod; `user`: ids (default: as assigned by OpenShift)
 */
export async function createPod(options) {
  const { spec, name, folder, image, objects, network } = options
  const { claims = folder, user = OPENSHIFT } = options
  mkdirSync(folder, { recursive: true })
  const volumes = new Map(spec.volumes.map((one) => [one.name, makeVolume(one)]))
  const address = await network.join(name)

  function makeVolume({ name: volume, configMap, secret, emptyDir, hostPath }) {
    if (hostPath !== undefined) return hostPath.path
    const path = join(folder, 'volumes', volume)
    mkdirSync(path, { recursive: true })
    if (emptyDir !== undefined) {
      chmodSync(path, 0o777)
      return path
    }
    const [kind, wanted] =
      configMap === undefined ? ['Secret', secret.secretName] : ['ConfigMap', configMap.name]
    const object = objects.find((one) => one.kind === kind && one.metadata.name === wanted)
    if (object === undefined)
      throw new Error(`the pod mounts ${kind} ${wanted}, which is not there`)
    // The kubelet uses the same layout, in which a single rename updates all files.
    mkdirSync(join(path, '..2026'))
    symlinkSync('..2026', join(path, '..data'))
    for (const [key, text] of Object.entries(object.data)) {
      writeFileSync(join(path, '..2026', key), text, { mode: 0o644 })
      symlinkSync(`..data/${key}`, join(path, key))
    }
    return path
  }

  /** Returns the host folder for a mount. The folder of a claim outlives restarts of its pod. */
  function sourceOf(mount) {
    const known = volumes.get(mount.name)
    if (known !== undefined) return known
    const path = join(claims, `${mount.name}-${name}`)
    mkdirSync(path, { recursive: true })
    chownSync(path, user.gid, user.fsGroup)
    chmodSync(path, 0o2775)
    return path
  }

  async function start(container) {
    const root = join(folder, `root-${container.name}`)
    const lines = layOut(root, container.volumeMounts ?? [], sourceOf, image)
    const command = container.command ?? (await entrypoint())
    const env = Object.entries({ ...imageEnvironment(), ...toEnvironment(container.env) })
    const inside = [
      ...['env', '-i', ...env.map(([key, value]) => `${key}=${value}`)],
      ...['setpriv', '--no-new-privs', ...command, ...(container.args ?? [])],
    ]
    const script = `set -e\nhostname ${name}\n${lines.join('\n')}
exec chroot --userspec=${user.uid}:${user.gid} --groups=${user.gid},${user.fsGroup} ${root} "$@"\n`
    const isolated = ['--mount', '--pid', '--fork', '--kill-child', '--uts', '--ipc']
    const child = spawn(
      'ip',
      [
        ...['netns', 'exec', network.of(name), 'unshare', ...isolated, '--propagation', 'private'],
        ...['sh', '-c', script, 'sh', ...inside],
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    )
    const running = { child, root, output: '', code: undefined }
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => (running.output += text))
    }
    running.ended = new Promise((resolve) => {
      child.once('close', (code) => resolve((running.code = code ?? 1)))
    })
    return running
  }

  /** Returns the host's process id for the container's first process. */
  function firstProcess({ child }) {
    const children = `/proc/${child.pid}/task/${child.pid}/children`
    return Number(readFileSync(children, 'utf8').trim().split(' ')[0])
  }

  let serving
  let stopped = false
  let restarts = 0
  return {
    name,
    address,
    output: () => serving?.output ?? '',
    restarts: () => restarts,
    isStopping: () => stopped,
    /** Runs the init containers and then the only container to completion. @throws if one fails */
    async runToEnd() {
      for (const one of [...(spec.initContainers ?? []), ...spec.containers]) {
        const running = await start(one)
        if ((await running.ended) !== 0) {
          throw new Error(`container ${one.name} ended with ${running.code}:\n${running.output}`)
        }
        serving = running
      }
    },
    /** Runs the init containers, and then the container in the background. Restarts the container whenever it exits. */
    async start() {
      for (const one of spec.initContainers ?? []) {
        const running = await start(one)
        if ((await running.ended) !== 0) throw new Error(running.output)
      }
      const keepRunning = async () => {
        const before = serving?.output ?? ''
        serving = await start(spec.containers[0])
        serving.output = before
        void serving.ended.then(() => {
          if (stopped) return
          restarts += 1
          setTimeout(() => stopped || void keepRunning(), 500)
        })
      }
      await keepRunning()
    },
    /** Returns the result of the container's readiness probe. */
    async isReady() {
      const { path } = spec.containers[0].readinessProbe.httpGet
      const ping = spec.containers[0].ports.find((one) => one.name === 'ping').containerPort
      const url = `http://${address}:${ping}${path}`
      return fetch(url, { signal: AbortSignal.timeout(1000) }).then(
        ({ status }) => status === 200,
        () => false,
      )
    },
    /** Runs a command in the container, as kubectl exec does. */
    exec(words) {
      const pid = firstProcess(serving)
      const env = Object.entries(imageEnvironment()).map(([key, value]) => `${key}=${value}`)
      return run(
        'nsenter',
        [
          ...['--target', String(pid), '--mount', '--pid', '--net', '--uts', '--root', '--wd'],
          ...[
            '--setuid',
            String(user.uid),
            '--setgid',
            String(user.gid),
            '--',
            'env',
            '-i',
            ...env,
            ...words,
          ],
        ],
        { timeoutMs: 60_000 },
      )
    },
    /** Sends SIGTERM, as the kubelet does. @returns {Promise<number>} the exit code */
    async stop() {
      stopped = true
      if (serving.code === undefined) process.kill(firstProcess(serving), 'SIGTERM')
      const timer = setTimeout(() => serving.child.kill('SIGKILL'), 45_000)
      const code = await serving.ended
      clearTimeout(timer)
      return code
    },
    kill() {
      stopped = true
      serving?.child.kill('SIGKILL')
    },
  }
}

/** Returns the commands that build the root file system below `root`, and creates the folders that they need. */
function layOut(root, mounts, sourceOf, image) {
  const folders = ['usr', 'proc', 'dev', 'etc', 'tmp', 'opt/latchkey']
  for (const one of folders) mkdirSync(join(root, one), { recursive: true })
  for (const one of ['bin', 'lib', 'lib64', 'sbin']) {
    try {
      symlinkSync(`usr/${one}`, join(root, one))
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
    }
  }
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/usr/sbin/nologin\n')
  writeFileSync(join(root, 'etc/nsswitch.conf'), 'hosts: files\n')
  writeFileSync(join(root, 'etc/hosts'), readFileSync(join(image, '../hosts')))
  const bind = (from, at, readOnly) => {
    if (!at.startsWith('/opt/latchkey/')) mkdirSync(join(root, at), { recursive: true })
    const mounted = [`mount --bind ${from} ${root}${at}`]
    return readOnly ? [...mounted, `mount -o remount,bind,ro ${root}${at}`] : mounted
  }
  return [
    `mount --bind ${root} ${root}`,
    ...bind('/usr', '/usr', true),
    `mount --bind ${join(image, '../bin')} ${root}/usr/local/bin`,
    ...bind(image, '/opt/latchkey', true),
    ...BUILT.flatMap((one) => bind(join(ROOT, one), `/opt/latchkey/${one}`, true)),
    `mount -t proc proc ${root}/proc`,
    `mount --rbind /dev ${root}/dev`,
    ...mounts.flatMap((one) => bind(sourceOf(one), one.mountPath, one.readOnly === true)),
    `mount -o remount,bind,ro ${root}`,
  ]
}

const DOCKERFILE = readFileSync(join(ROOT, 'docker/Dockerfile'), 'utf8')

/** Returns the image's entrypoint, which precedes the pod's arguments. */
function entrypoint() {
  const [, words] = /^ENTRYPOINT (\[[^\]]*\])/m.exec(DOCKERFILE) ?? []
  return JSON.parse(words.replaceAll('\\\n', ''))
}

function imageEnvironment() {
  return {
    NODE_ENV: 'production',
    LATCHKEY_CONFIG: '/etc/latchkey/latchkey.yaml',
    PATH: '/usr/local/bin:/usr/bin:/usr/sbin',
  }
}

const toEnvironment = (env = []) => Object.fromEntries(env.map(({ name, value }) => [name, value]))

/** Creates network namespaces on one bridge, each with its own address and no route to the outside. */
export async function createNetwork(id) {
  const bridge = `lk${id}`
  const prefix = `10.213.${id % 250}`
  const joined = new Map()
  const ip = (...words) => must('ip', words)
  await ip('link', 'add', bridge, 'type', 'bridge')
  await ip('address', 'add', `${prefix}.1/24`, 'dev', bridge)
  await ip('link', 'set', bridge, 'up')
  return {
    host: `${prefix}.1`,
    of: (name) => `${bridge}-${name}`,
    async join(name) {
      const known = joined.get(name)
      if (known !== undefined) return known
      const [space, number] = [`${bridge}-${name}`, joined.size + 10]
      const address = `${prefix}.${number}`
      joined.set(name, address)
      const outer = `${bridge}v${number}`
      await ip('netns', 'add', space)
      await ip('link', 'add', outer, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', space)
      await ip('link', 'set', outer, 'master', bridge, 'up')
      const inside = (...words) => ip('-n', space, ...words)
      await inside('address', 'add', `${address}/24`, 'dev', 'eth0')
      await inside('link', 'set', 'eth0', 'up')
      await inside('link', 'set', 'lo', 'up')
      return address
    },
    async close() {
      for (const name of joined.keys()) await run('ip', ['netns', 'del', `${bridge}-${name}`])
      await run('ip', ['link', 'del', bridge])
    },
  }
}

/** Folders that the image takes from the project. It also takes a few single files. */
const BUILT = [
  'dist',
  'node_modules',
  'src/killswitch/gate/guard/build',
  'src/keys/pkcs11/worker/gcm/build',
  'src/store/row-codes/build',
]

/**
 * Creates `opt`, `bin` and `hosts` in `folder` with the image's contents, except the folders mounted from the project.
 * @returns {Promise<string>} the folder that the pods see as /opt/latchkey
 */
export async function layOutImage(folder, hosts) {
  const opt = join(folder, 'opt')
  mkdirSync(join(folder, 'bin'), { recursive: true })
  for (const one of [...BUILT, 'docker']) mkdirSync(join(opt, one), { recursive: true })
  const files = [
    'package.json',
    'openapi.yaml',
    'docker/healthcheck.mjs',
    'docker/copy-secrets.mjs',
  ]
  for (const one of files) copyFileSync(join(ROOT, one), join(opt, one))
  await must('cp', [process.execPath, join(folder, 'bin/node')])
  await must('cp', ['docker/latchkey', join(folder, 'bin/latchkey')])
  chmodSync(join(folder, 'bin/latchkey'), 0o755)
  writeFileSync(join(folder, 'hosts'), `127.0.0.1 localhost\n${hosts}`)
  chmodSync(dirname(opt), 0o755)
  return opt
}
