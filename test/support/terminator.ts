/** Runs terminators in front of the server, using the configurations published in docker/terminators. */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { Authority } from '../../certs/dev-pki.ts'
import { startBalancer } from './balancer.ts'
import { EAST, type Files } from './client-certificate.ts'
import { newAuthority, testPki } from './pki.ts'
import { read } from './repository.ts'
import { startTestServer, type TestServer } from './server.ts'

export interface Terminated {
  readonly server: TestServer
  /** The terminator's port. */
  readonly port: number
}

export interface Terminator {
  readonly name: string
  /** Settings for listener.clientCertificate.forwardedBy. */
  readonly forwardedBy: Readonly<Record<string, string>>
  /** Whether the terminator identifies its client with the PROXY protocol. */
  readonly isProxy: boolean
  readonly program: string
  readonly args: (file: string) => readonly string[]
  /** Replaces the placeholders in a file from docker/terminators. */
  readonly render: (values: (file: string) => string, folder: string) => string
}

const SUBJECT = {
  format: 'subject-dn',
  header: 'x-client-subject',
  verifyHeader: 'x-client-verify',
}

export const NGINX: Terminator = {
  name: 'nginx',
  forwardedBy: SUBJECT,
  isProxy: false,
  program: 'nginx',
  args: (file) => ['-e', 'stderr', '-c', file, '-g', 'daemon off;'],
  render(fill, folder) {
    writeFileSync(join(folder, 'latchkey.conf'), fill('nginx.conf'))
    return `
error_log stderr notice;
pid ${folder}/nginx.pid;
events {}
http {
  include ${folder}/latchkey.conf;
}
`
  },
}

export const HAPROXY: Terminator = {
  name: 'HAProxy',
  forwardedBy: SUBJECT,
  isProxy: true,
  program: 'haproxy',
  args: (file) => ['-db', '-f', file],
  render: (fill) => fill('haproxy.cfg'),
}

export const envoy = (program: string): Terminator => ({
  name: 'Envoy',
  forwardedBy: {},
  isProxy: true,
  program,
  args: (file) => ['--disable-hot-restart', '--concurrency', '1', '-l', 'warning', '-c', file],
  render: (fill) => fill('envoy.yaml'),
})

let authority: Promise<Authority> | undefined

/** Issues a certificate from an authority that is used only for terminators. */
export async function issueTerminator(commonName = 'terminator.test'): Promise<Files> {
  authority ??= newAuthority('Terminator CA')
  const pki = await testPki()
  return pki.issue(`terminator-${commonName}`, { commonName, usage: 'client' }, await authority)
}

/** Starts a server that trusts forwarded headers from 127.0.0.1 if the peer presents the terminator's certificate. */
export async function startForwarded(
  t: Test,
  { forwardedBy, isProxy }: Pick<Terminator, 'forwardedBy' | 'isProxy'>,
  mode: 'enforce' | 'observe' = 'enforce',
): Promise<TestServer> {
  const pki = await testPki()
  await issueTerminator()
  const ca = join(pki.folder, 'terminator-ca.crt')
  writeFileSync(ca, (await authority)?.certificatePem ?? '')
  const peers = ['127.0.0.1']
  const clientCertificate = {
    ca: pki.caFile,
    subjects: [EAST],
    mode,
    forwardedBy: { peers, certificate: { ca, subjects: ['terminator.test'] }, ...forwardedBy },
  }
  const proxyProtocol = isProxy ? { proxyProtocol: { peers } } : {}
  return startTestServer(t, { config: { listener: { clientCertificate, ...proxyProtocol } } })
}

export async function startTerminated(t: Test, terminator: Terminator): Promise<Terminated> {
  const server = await startForwarded(t, terminator)
  const pki = await testPki()
  const own = await issueTerminator()
  const pem = (name: string, ...files: readonly string[]) => {
    const file = join(pki.folder, `${name}.pem`)
    writeFileSync(file, files.map((part) => readFileSync(part, 'utf8')).join(''), { mode: 0o600 })
    return file
  }
  const values = (port: number): Readonly<Record<string, string>> => ({
    BIND: `127.0.0.1:${String(port)}`,
    BIND_ADDRESS: '127.0.0.1',
    BIND_PORT: String(port),
    SERVER_NAME: 'localhost',
    SERVER_CERTIFICATE: pki.certificateFile,
    SERVER_KEY: pki.privateKeyFile,
    SERVER_PEM: pem('server', pki.certificateFile, pki.privateKeyFile),
    KMS_CA: pki.caFile,
    LATCHKEY: `127.0.0.1:${String(server.port)}`,
    LATCHKEY_ADDRESS: '127.0.0.1',
    LATCHKEY_PORT: String(server.port),
    LATCHKEY_NAME: 'localhost',
    LATCHKEY_CA: pki.caFile,
    TERMINATOR_CERTIFICATE: own.certificateFile,
    TERMINATOR_KEY: own.privateKeyFile,
    TERMINATOR_PEM: pem('terminator', own.certificateFile, own.privateKeyFile),
  })
  const { program, args, render } = terminator
  const { port } = await startBalancer(t, program, args, (port, folder) =>
    render((file) => fill(file, values(port)), folder),
  )
  return { server, port }
}

function fill(file: string, values: Readonly<Record<string, string>>): string {
  const text = read(`docker/terminators/${file}`)
  return text.replace(/\$\{([A-Z_]+)\}/g, (_, name: string) => {
    const value = values[name]
    if (value === undefined) throw new TypeError(`docker/terminators/${file}: \${${name}}?`)
    return value
  })
}
