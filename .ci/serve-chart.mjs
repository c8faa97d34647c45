// Tests the chart in operation: renders it with the values from docs/kubernetes.md, runs its pods with pod.mjs, and
// runs the page's commands in those pods.
// SPDX-License-Identifier: Apache-2.0
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseAllDocuments } from 'yaml'
import { built, DATABASE_NAMES, prepareSite, REGION, startPostgres } from './chart-site.mjs'
import { valuesFlags } from './kubernetes-files.mjs'
import { createNetwork, createPod, layOutImage } from './pod.mjs'
import { ROOT, run } from './process.mjs'
import { shownYaml } from './shown-commands.mjs'

const KEY_ID = 'my-key'
const PLAINTEXT = Buffer.alloc(32, 7)
/** Maximum number of attempts per request. A busy host may respond with ThrottlingException, which SDKs also retry. */
const TRIES = 9

/** @param {{ helm: string, folder: string, check: Function }} options */
export async function serveChart({ helm, folder, check }) {
  const network = await createNetwork(process.pid % 1000)
  const postgres = await startPostgres(join(folder, 'postgres'), network.host)
  const pods = []
  try {
    const site = await prepareSite(folder, network, postgres)
    const hosts = `${network.host} ${DATABASE_NAMES.join(' ')}\n`
    const image = await layOutImage(join(folder, 'image'), hosts)
    const cluster = { helm, folder, check, network, postgres, site, image, pods }
    await useChart(cluster)
  } finally {
    for (const pod of pods) pod.kill()
    await postgres.stop()
    await network.close()
  }
}

async function useChart(cluster) {
  const { check, pods } = cluster
  let objects = await render(cluster, {})
  const init = await createInitPod(cluster, objects, 'init-1')
  await check('pods that start before the store is made wait for it', async () => {
    await startAll(cluster, objects)
    await until(() => pods.every((pod) => pod.restarts() > 0), 'all pods have ended once')
    await init.runToEnd()
    await untilReady(pods)
  })
  await check('the job succeeds again, at an upgrade', async () => {
    await (await createInitPod(cluster, objects, 'init-2')).runToEnd()
  })
  const commands = readCommands()
  await check('a key and a credential, by the commands of the page', async () => {
    for (const words of commands.before) await execute(pods[0], words)
  })
  const client = await connect(cluster)
  await check('a signed Encrypt and Decrypt at each pod', async () => {
    // A pod loads the new credential at its next poll.
    for (const pod of pods) {
      await until(async () => (await encrypt(client(pod))).status === 200, `${pod.name} serves`)
      await roundTrip(client(pod))
    }
  })
  await check('a rolling update and a rollback refuse no request', async () => {
    const traffic = startTraffic(client, pods)
    objects = await render(cluster, { config: { logging: { level: 'debug' } } })
    await roll(cluster, objects)
    objects = await render(cluster, {})
    await roll(cluster, objects)
    const { served, retried, failures } = await traffic.stop()
    if (failures.length > 0 || served < 10) throw new Error(`${served} served, ${failures.join()}`)
    return `${served} served, ${retried} tried again`
  })
  let backup
  await check(
    'kill ends with revoked, every pod refuses and stays ready, restore ends it',
    async () => {
      backup = await cluster.postgres.dump()
      const [status, kill, restore] = commands.after
      await execute(pods[0], status)
      const said = await execute(pods[0], kill)
      if (!/revoked/.test(said)) throw new Error(said)
      for (const pod of pods) {
        const { status: code, body } = await encrypt(client(pod))
        if (code !== 400 || body.errorName !== 'InvalidStateException')
          throw new Error(String(code))
        if (!(await pod.isReady())) throw new Error(`${pod.name} is not ready`)
      }
      await execute(pods[0], restore)
      await until(async () => (await encrypt(client(pods[0]))).status === 200, 'served again')
    },
  )
  await check('pods of a database that was restored from a backup are not ready', async () => {
    await Promise.all(pods.map((pod) => pod.stop()))
    await cluster.postgres.restore(backup)
    await startAll(cluster, objects)
    const blame = 'does not continue the history'
    await until(() => pods.every((pod) => pod.output().includes(blame)), 'the logs say why')
    for (const pod of pods) {
      if (await pod.isReady()) throw new Error(`${pod.name} is ready`)
      // The log line is written before the server listens on the port, so retry.
      let answer
      const ask = async () => (answer = await encrypt(client(pod)).catch(() => undefined))
      await until(async () => (await ask()) !== undefined, `${pod.name} answers`)
      if (answer.status !== 400) throw new Error(`${pod.name} answers ${answer.status}`)
    }
  })
  await check('SIGTERM ends each pod with 0', async () => {
    const codes = await Promise.all(pods.map((pod) => pod.stop()))
    if (codes.some((code) => code !== 0)) throw new Error(codes.join())
  })
  await check('without a volume to write to, a pod says so and does not start', async () => {
    const { spec } = podOf(objects)
    const [container] = spec.containers
    const volumeMounts = container.volumeMounts.map((one) =>
      one.name === 'data' ? { ...one, readOnly: true } : one,
    )
    const broken = { ...spec, containers: [{ ...container, volumeMounts }] }
    const pod = await createPod(podOptions(cluster, objects, 'broken', broken))
    await pod.start()
    pods.push(pod)
    await until(() => pod.restarts() > 0, 'the pod has ended')
    const expected = 'cannot write the high-water file /var/lib/latchkey/latchkey.epoch (EROFS)'
    if (!pod.output().includes(expected)) throw new Error(pod.output())
  })
}

/** Returns the chart's objects with all values of docs/kubernetes.md, and the Secrets that the page creates. */
async function render({ helm, folder, site }, more) {
  const files = [...shownYaml('docs/kubernetes.md'), JSON.stringify({ config: more.config ?? {} })]
  const config = { listener: { drain: { delay: '4s', timeout: '10s' } } }
  files.push(JSON.stringify({ config }))
  const values = files.map((text, i) => {
    const file = join(folder, `values-${i}.yaml`)
    writeFileSync(file, text)
    return file
  })
  const flags = ['--kube-version', '1.37.0', '--api-versions', 'security.openshift.io/v1']
  const chart = ['latchkey', 'docker/helm/latchkey', ...valuesFlags(values)]
  const operands = ['template', ...chart, ...flags]
  const { stdout, code, output } = await run(helm, operands)
  if (code !== 0) throw new Error(output)
  const rendered = parseAllDocuments(stdout).map((one) => one.toJS())
  return [...rendered.filter((one) => one !== null), ...site.objects]
}

const podOf = (objects, kind = 'StatefulSet') =>
  objects.find((one) => one.kind === kind).spec.template

const podOptions = ({ folder, image, network }, objects, name, spec) => ({
  ...{ spec, name, image, network, objects },
  folder: join(folder, 'pods', `${name}-${String(Math.random()).slice(2)}`),
  claims: join(folder, 'claims'),
})

const createInitPod = (cluster, objects, name) =>
  createPod(podOptions(cluster, objects, name, podOf(objects, 'Job').spec))

async function startOne(cluster, objects, number) {
  const { spec } = podOf(objects)
  const pod = await createPod(podOptions(cluster, objects, `latchkey-${number}`, spec))
  cluster.pods[number] = pod
  await pod.start()
  return pod
}

async function startAll(cluster, objects) {
  const { replicas } = objects.find((one) => one.kind === 'StatefulSet').spec
  await Promise.all(Array.from({ length: replicas }, (_, i) => startOne(cluster, objects, i)))
}

/** Updates pods as a StatefulSet does: from the last to the first, waiting until each is ready. */
async function roll(cluster, objects) {
  for (let i = cluster.pods.length - 1; i >= 0; i--) {
    const code = await cluster.pods[i].stop()
    if (code !== 0) throw new Error(`${cluster.pods[i].name} ended with ${code}`)
    await untilReady([await startOne(cluster, objects, i)])
  }
}

async function until(isSo, what) {
  const end = performance.now() + 90_000
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`not within 90 s: ${what}`)
    await sleep(100)
  }
}

async function untilReady(pods) {
  for (const pod of pods) {
    await until(() => pod.isReady(), `${pod.name} is ready`).catch((error) => {
      throw new Error(`${error.message}\n${pod.output()}`)
    })
  }
}

/** Returns the latchkey commands that docs/kubernetes.md runs in a pod, in order. */
function readCommands() {
  const page = readFileSync(join(ROOT, 'docs/kubernetes.md'), 'utf8')
  const found = [...page.matchAll(/^kubectl exec .* -- (latchkey .*)$/gm)].map(([, words]) => words)
  const at = found.findIndex((words) => words === 'latchkey status')
  if (at < 2 || found.length < at + 3) throw new Error('docs/kubernetes.md lacks commands')
  return { before: found.slice(0, at), after: found.slice(at) }
}

async function execute(pod, text) {
  const words = [...text.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare)
  const { code, output, stdout } = await pod.exec(words)
  if (code !== 0) throw new Error(`${text} ended with ${code}:\n${output}`)
  if (text.includes('credentials create')) pod.credential = JSON.parse(stdout)
  return output
}

async function connect({ pods, site }) {
  const { createKmsSideClient } = await built('src/kms/client/client.js')
  const { Secret } = await built('src/core/secret.js')
  const file = pods.find((pod) => pod.credential !== undefined).credential
  const { AccessKeyId, RawSecretAccessKey } = file.XksProxyAuthenticationCredential
  return ({ address }) =>
    createKmsSideClient({
      endpoint: `https://${address}:8443`,
      uriPath: file.XksProxyUriPath,
      accessKeyId: AccessKeyId,
      secretAccessKey: new Secret(RawSecretAccessKey),
      region: REGION,
      caFile: site.caFile,
      clientCertificate: site.clientCertificate,
    })
}

async function encrypt(client) {
  try {
    return await client.encrypt(KEY_ID, { plaintext: PLAINTEXT, cdiv: true })
  } finally {
    await client.close()
  }
}

async function roundTrip(client) {
  try {
    const sealed = (await client.encrypt(KEY_ID, { plaintext: PLAINTEXT, cdiv: true })).body
    const bytes = (name) => Buffer.from(sealed[name], 'base64')
    const { status, body } = await client.decrypt(KEY_ID, {
      ciphertext: bytes('ciphertext'),
      ciphertextMetadata: bytes('ciphertextMetadata'),
      initializationVector: bytes('initializationVector'),
      authenticationTag: bytes('authenticationTag'),
    })
    if (body.plaintext !== PLAINTEXT.toString('base64')) throw new Error(`Decrypt: ${status}`)
  } finally {
    await client.close()
  }
}

/** Sends requests one at a time to the ready pods in turn, as a load balancer would. */
function startTraffic(client, pods) {
  let isOn = true
  const outcome = { served: 0, retried: 0, failures: [] }
  const send = async () => {
    for (let i = 0; isOn; i++) {
      const pod = pods[i % pods.length]
      // When a cluster stops a pod, it also removes the pod from its services.
      if (!(await pod.isReady()) || pod.isStopping()) continue
      let answer
      for (let tries = 0; tries < TRIES; tries++) {
        answer = await encrypt(client(pod)).catch((error) => ({ status: error.message }))
        if (answer.status !== 429) break
        outcome.retried += 1
        await sleep(100 * 2 ** tries)
      }
      if (answer.status === 200) outcome.served += 1
      else outcome.failures.push(`${pod.name}: ${answer.status}`)
    }
  }
  const done = send()
  return {
    async stop() {
      isOn = false
      await done
      return outcome
    },
  }
}
