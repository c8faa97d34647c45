/**
 * Tests that SIGHUP applies the settings that can change while the server runs, and reports those that require a
 * restart.
 */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import https from 'node:https'
import t, { type Test } from 'tap'
import { parse, stringify } from 'yaml'
import { type Workspace, workspace } from '../support/cli.ts'
import { testPki } from '../support/pki.ts'
import { PATIENT_CONTROL, eventually } from '../support/server.ts'

const pki = await testPki()
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
const callers = (...names: readonly string[]) =>
  names.map((name) => ({ name, role: 'viewer', sha256: sha256(`${name}-token`) }))

interface Settings {
  keyStores: unknown[]
  logging: unknown
  admin: { tokens: unknown }
  limits: unknown
}

async function edit({ configFile }: Workspace, change: (config: Settings) => void): Promise<void> {
  const config = parse(await readFile(configFile, 'utf8')) as Settings
  change(config)
  await writeFile(configFile, stringify(config))
}

async function get(
  port: number,
  path: string,
  token?: string,
): Promise<{ readonly status: number; readonly body: string }> {
  const ca = await readFile(pki.caFile)
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
  return new Promise((resolve, reject) => {
    https
      .get(
        { host: '127.0.0.1', servername: 'localhost', port, path, ca, headers, agent: false },
        (response) => {
          let body = ''
          response.setEncoding('utf8').on('data', (chunk: string) => (body += chunk))
          response.on('end', () => {
            resolve({ status: response.statusCode ?? 0, body })
          })
        },
      )
      .on('error', reject)
  })
}

async function startWith(t: Test, workers: number) {
  const space = await workspace(t, {
    settings: {
      workers,
      control: PATIENT_CONTROL,
      admin: {
        port: 0,
        tls: { certificate: pki.certificateFile, privateKey: pki.privateKeyFile },
        tokens: callers('alice'),
      },
    },
  })
  const { running, port } = await space.serve()
  const [line] = await running.shows(/^.*"admin listener".*$/m)
  const admin = (JSON.parse(line) as { port: number }).port
  return {
    ...{ space, running, admin },
    /** Reports whether this prefix belongs to a key store. */
    async serves(prefix: string) {
      const { body } = await get(port, `${prefix}/kms/xks/v1/health`)
      return !body.includes('InvalidUriPathException')
    },
    metrics: async (token: string) => (await get(admin, '/metrics', token)).body,
  }
}

for (const workers of [1, 2]) {
  void t.test(`SIGHUP with ${String(workers)} processes`, async (t) => {
    const { space, running, serves, metrics } = await startWith(t, workers)
    t.equal(await serves('/demo'), true)
    t.equal(await serves('/second'), false)
    await edit(space, (config) => {
      config.keyStores = [
        { name: 'demo', prefix: '/demo', quota: { requestsPerSecond: 77 } },
        { name: 'second', prefix: '/second' },
      ]
      config.admin.tokens = callers('bob')
      config.limits = { requestDeadline: '19s' }
    })
    running.process.kill('SIGHUP')
    const [line] = await running.shows(/^.*"configuration partially reloaded.*$/m)
    t.match(JSON.parse(line), {
      applied: [
        'keyStores[0].quota',
        'keyStores[1]',
        'admin.tokens[0].name',
        'admin.tokens[0].sha256',
      ],
      needsRestart: ['limits.requestDeadline'],
    })
    t.equal(await serves('/second'), true)
    t.match(await metrics('bob-token'), /quota_requests_per_second\{key_store="demo"\} 77/)
    t.notMatch(await metrics('alice-token'), 'quota_requests')

    await edit(space, (config) => {
      config.keyStores = [{ name: 'second', prefix: '/third' }]
      config.logging = { level: 'error' }
      config.limits = { requestDeadline: '20s' }
    })
    running.process.kill('SIGHUP')
    // A change of the log level writes nothing to the log, so wait until another change from the same reload has taken
    // effect.
    await eventually(async () => serves('/third'))
    // Each worker applies the configuration on its own.
    await eventually(async () => !(await serves('/second')) && !(await serves('/demo')))
    await edit(space, (config) => {
      config.keyStores = []
    })
    running.process.kill('SIGHUP')
    await running.shows(/"level":50.*"configuration not reloaded; keeping the current one"/)
    t.equal(await serves('/third'), true)
    t.equal(await serves('/not-logged'), false)
    t.match(await running.ended('SIGTERM'), { code: 0 })
    t.notMatch(running.stdout(), '/not-logged', 'requests are not logged at error')
  })
}
