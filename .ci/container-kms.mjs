// Runs the image of the KMS emulator with `buildah run`, and calls it with the AWS SDK. The emulator uses a proxy that
// `latchkey quickstart` runs on this host.
// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildah, buildahArguments } from './buildah.mjs'
import { findProcess } from './container-use.mjs'
import { must, ROOT, run } from './process.mjs'
import { until } from './serve-check.mjs'

const USER = 1000
const ENDPOINT = 'http://127.0.0.1:4566'
/** Port of the quickstart proxy. Its console uses the next port. */
const PORT = '18443'
const KEY = 'alias/latchkey-demo'

/** @param {{ name: string, container: string, check: Function }} options */
export async function useKms({ name, container, check }) {
  const home = mkdtempSync(join(tmpdir(), 'latchkey-kms-'))
  const proxy = start(process.execPath, [
    ...[join(ROOT, 'dist/src/main.js'), 'quickstart', '--dir', join(home, 'proxy'), '--port', PORT],
  ])
  let kms
  try {
    await check(
      'kms: the image emulates KMS for a proxy: a data key, a decryption, a kill',
      async () => {
        await until(
          () => proxy.output().includes('Press Ctrl-C to stop'),
          'quickstart',
          proxy.output,
        )
        const { image, folders } = await prepare(name, home)
        kms = start('buildah', toRun(container, folders, [...image.entrypoint, ...image.command]))
        const isHealthy = async () =>
          (await run('buildah', toRun(container, folders, image.healthcheck))).code === 0
        await until(isHealthy, 'its HEALTHCHECK', kms.output)
        await callKms(join(home, 'proxy'))
      },
    )
  } finally {
    await proxy.stop()
    // A signal to buildah would leave the container's processes running.
    await kms?.stop((pid) => process.kill(findProcess('tini', pid), 'SIGTERM'))
    rmSync(home, { recursive: true, force: true })
  }
}

/** Reads the image's command and health check, and creates its volumes, owned by the image's user. */
async function prepare(name, home) {
  const { config } = JSON.parse(await buildah('inspect', '--type', 'image', name)).Docker
  const folders = { demo: join(home, 'demo'), data: join(home, 'data') }
  cpSync(join(home, 'proxy'), folders.demo, { recursive: true })
  mkdirSync(folders.data)
  for (const folder of [home, ...Object.values(folders)])
    await must('chown', ['-R', `${USER}:${USER}`, folder])
  const image = {
    entrypoint: config.Entrypoint,
    // On a busy host, the proxy can take longer than the 250 ms that KMS waits.
    command: [...config.Cmd, '--demo', '/demo', '--timeout', '20s'],
    healthcheck: config.Healthcheck.Test.slice(1),
  }
  return { image, folders }
}

function toRun(container, { demo, data }, command) {
  return buildahArguments(
    ...['run', '--isolation', 'chroot', '--user', `${USER}:${USER}`],
    ...['--volume', `${demo}:/demo:ro`, '--volume', `${data}:/var/lib/latchkey:rw`],
    ...[container, '--', ...command],
  )
}

async function callKms(demo) {
  const sdk = await import('@aws-sdk/client-kms')
  const client = new sdk.KMSClient({
    // A busy proxy throttles requests, and the SDK retries them.
    ...{ endpoint: ENDPOINT, region: 'us-east-1', maxAttempts: 9 },
    credentials: {
      accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
      secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
    },
  })
  const order = { KeyId: KEY, KeySpec: 'AES_256' }
  const { Plaintext, CiphertextBlob } = await client.send(new sdk.GenerateDataKeyCommand(order))
  const decrypt = () => client.send(new sdk.DecryptCommand({ CiphertextBlob }))
  const opened = await decrypt()
  if (Buffer.compare(opened.Plaintext, Plaintext) !== 0) throw new Error('another plaintext')
  const flags = ['--all', '--reason', 'container check', '--config', join(demo, 'latchkey.yaml')]
  await must(process.execPath, [join(ROOT, 'dist/src/main.js'), 'kill', ...flags])
  const refusal = await decrypt().then(
    () => 'decrypted',
    (error) => error.name,
  )
  if (refusal !== 'KMSInvalidStateException') throw new Error(`after the kill: ${refusal}`)
}

function start(command, operands) {
  const child = spawn(command, operands, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text) => (output += text))
  const ended = new Promise((resolve) => child.once('close', resolve))
  return {
    output: () => output,
    async stop(terminate = (pid) => process.kill(pid, 'SIGTERM')) {
      if (child.exitCode === null) terminate(child.pid)
      const timer = setTimeout(() => child.kill('SIGKILL'), 20_000)
      await ended
      clearTimeout(timer)
    },
  }
}
