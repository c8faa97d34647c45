/** Tests SIGHUP for `latchkey serve` with workers: the primary's admin listener and the workers load renewed files. */
// SPDX-License-Identifier: Apache-2.0
import { createHash, X509Certificate } from 'node:crypto'
import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises'
import https from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, TLSSocket } from 'node:tls'
import t from 'tap'
import { SERVER_CERTIFICATE, testPki } from '../support/pki.ts'
import { serveProgram } from '../support/program.ts'
import { eventually } from '../support/server.ts'

t.setTimeout(120_000)

const TOKEN = 'latchkey_token_of_a_test'

void t.test(
  'both listeners present the renewed certificate, and the metric shows it',
  async (t) => {
    const pki = await testPki()
    const folder = await mkdtemp(join(tmpdir(), 'latchkey-reload-'))
    t.teardown(() => rm(folder, { recursive: true, force: true }))
    const tls = { certificate: join(folder, 'a.crt'), privateKey: join(folder, 'a.key') }
    await copyFile(pki.certificateFile, tls.certificate)
    await copyFile(pki.privateKeyFile, tls.privateKey)
    const sha256 = createHash('sha256').update(TOKEN).digest('hex')
    const program = await serveProgram(t, {
      workers: 2,
      listener: { tls },
      admin: { port: 0, tls, tokens: [{ name: 'x', role: 'viewer', sha256 }] },
    })
    await eventually(() => program.linesOf('admin listener').length === 1)
    const adminPort = Number(program.linesOf('admin listener')[0]?.['port'])
    const ca = await readFile(pki.caFile)
    const serialAt = (port: number) =>
      new Promise<string>((resolve, reject) => {
        const socket = connect({ port, host: '127.0.0.1', servername: 'localhost', ca }, () => {
          resolve(socket.getPeerCertificate().serialNumber)
          socket.destroy()
        }).on('error', reject)
      })
    const metrics = () =>
      new Promise<string>((resolve, reject) => {
        const headers = { authorization: `Bearer ${TOKEN}` }
        const options = { port: adminPort, path: '/metrics', ca, headers, agent: false }
        https
          .get({ ...options, host: '127.0.0.1', servername: 'localhost' }, (response) => {
            let text = ''
            response.on('data', (chunk: Buffer) => (text += chunk.toString()))
            response.on('end', () => {
              t.ok(response.socket instanceof TLSSocket)
              resolve(text)
            })
          })
          .on('error', reject)
      })

    const ends = new Date(Math.floor(Date.now() / 1000) * 1000 + 20 * 86_400_000)
    const renewed = await pki.issue('workers-renewed', { ...SERVER_CERTIFICATE, notAfter: ends })
    const { serialNumber } = new X509Certificate(await readFile(renewed.certificateFile))
    await copyFile(renewed.certificateFile, tls.certificate)
    await copyFile(renewed.privateKeyFile, tls.privateKey)
    program.child.kill('SIGHUP')
    await eventually(async () => (await serialAt(adminPort)) === serialNumber)
    // Connections are assigned to workers in turn.
    const { port } = program.server
    await eventually(async () => {
      const serials = [await serialAt(port), await serialAt(port), await serialAt(port)]
      return serials.every((serial) => serial === serialNumber)
    })
    const end = String(ends.getTime() / 1000)
    await eventually(async () => {
      const text = await metrics()
      return ['server', 'admin_server'].every((name) =>
        text.includes(
          `latchkey_certificate_expiry_timestamp_seconds{certificate="${name}"} ${end}`,
        ),
      )
    })
  },
)
