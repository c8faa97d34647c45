/** Tests that the admin listener reloads renewed certificates and a replaced operator CA. */
// SPDX-License-Identifier: Apache-2.0
import { X509Certificate } from 'node:crypto'
import { copyFile, readFile, writeFile } from 'node:fs/promises'
import https from 'node:https'
import { join } from 'node:path'
import { TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { SERVER_CERTIFICATE, newAuthority, testPki } from '../support/pki.ts'
import { eventually, startTestServer } from '../support/server.ts'

const pki = await testPki()
const ALICE = { commonName: 'alice', usage: 'client' } as const

interface Files {
  readonly certificateFile: string
  readonly privateKeyFile: string
}

async function start(t: Test) {
  const folder = t.testdir()
  const tls = { certificate: join(folder, 'admin.crt'), privateKey: join(folder, 'admin.key') }
  const ca = join(folder, 'operators.crt')
  await copyFile(pki.certificateFile, tls.certificate)
  await copyFile(pki.privateKeyFile, tls.privateKey)
  await copyFile(pki.caFile, ca)
  const subjects = [{ commonName: 'alice', role: 'admin' }]
  const server = await startTestServer(t, {
    config: { admin: { port: 0, tls, clientCertificates: { ca, subjects } } },
  })
  const port = server.running.admin?.port
  const ask = async (agent: https.Agent): Promise<{ status: number; serial: string }> =>
    new Promise((resolve, reject) => {
      https
        .get({ host: '127.0.0.1', port, path: '/admin/v1/status', agent }, (response) => {
          const socket: unknown = response.socket
          if (!(socket instanceof TLSSocket)) throw new TypeError('no TLS')
          const { serialNumber } = socket.getPeerCertificate()
          response.resume().on('end', () => {
            resolve({ status: response.statusCode ?? 0, serial: serialNumber })
          })
        })
        .on('error', reject)
    })
  const agentOf = async (files: Files) => {
    const agent = new https.Agent({
      keepAlive: true,
      maxSockets: 1,
      servername: 'localhost',
      ca: await readFile(pki.caFile),
      cert: await readFile(files.certificateFile),
      key: await readFile(files.privateKeyFile),
    })
    t.teardown(() => {
      agent.destroy()
    })
    return agent
  }
  return { ...{ server, tls, ca, ask, agentOf } }
}

void t.test(
  "the listener's renewed certificate is presented and shown in the metric",
  async (t) => {
    const { server, tls, ask, agentOf } = await start(t)
    const renewed = await pki.issue('admin-renewed', {
      ...SERVER_CERTIFICATE,
      notAfter: new Date(Date.now() + 12 * 86_400_000),
    })
    await copyFile(renewed.certificateFile, tls.certificate)
    await copyFile(renewed.privateKeyFile, tls.privateKey)
    await server.running.reloadCertificates()
    const { status, serial } = await ask(await agentOf(await pki.issue('admin-alice', ALICE)))
    const shown = new X509Certificate(await readFile(renewed.certificateFile))
    t.same([status, serial], [200, shown.serialNumber])
    const text = await server.running.metrics()
    t.match(text, /expiry_timestamp_seconds\{certificate="admin_server"\} \d+/)
    t.match(text, /expiry_timestamp_seconds\{certificate="admin_client_ca"\} \d+/)
  },
)

void t.test('a replaced CA admits no client, not even on kept-alive connections', async (t) => {
  const { server, ca, ask, agentOf } = await start(t)
  const authority = await newAuthority('Next CA')
  const old = await agentOf(await pki.issue('admin-old', ALICE))
  const next = await agentOf(await pki.issue('admin-next', ALICE, authority))
  t.same([(await ask(old)).status, (await ask(next)).status], [200, 401])
  await writeFile(ca, authority.certificatePem)
  await server.running.reloadCertificates()
  // The server closes idle connections; wait until the HTTP agents have noticed.
  await eventually(() =>
    [old, next].every(({ freeSockets }) => Object.keys(freeSockets).length === 0),
  )
  t.same([(await ask(old)).status, (await ask(next)).status], [401, 200])
})

void t.test('a bad file leaves the old one in use', async (t) => {
  const { server, ca, ask, agentOf } = await start(t)
  const alice = await agentOf(await pki.issue('admin-kept', ALICE))
  await writeFile(ca, 'no certificate')
  await t.rejects(server.running.reloadCertificates(), { code: 'CERTIFICATE_UNREADABLE' })
  t.equal((await ask(alice)).status, 200)
})

/**
 * Opens a kept-alive connection whose client certificate, issued to alice, expires within seconds. Retries with a later
 * expiry if the machine is too slow.
 */
async function openBrief({ ask, agentOf }: Awaited<ReturnType<typeof start>>) {
  for (let seconds = 3; ; seconds *= 2) {
    const notAfter = new Date(Date.now() + seconds * 1000)
    const files = await pki.issue(`admin-brief-${String(seconds)}`, { ...ALICE, notAfter })
    const agent = await agentOf(files)
    if ((await ask(agent)).status === 200) return { agent, endsAt: notAfter.getTime() }
  }
}

void t.test(
  'a certificate is invalid after it expires, even on a kept-alive connection',
  async (t) => {
    const listener = await start(t)
    const { agent, endsAt } = await openBrief(listener)
    const [[kept] = []] = Object.values(agent.freeSockets)
    await new Promise((resolve) => setTimeout(resolve, endsAt - Date.now() + 1000))
    t.equal((await listener.ask(agent)).status, 401)
    t.equal(Object.values(agent.freeSockets)[0]?.[0], kept, 'it is the same connection')
  },
)
