// Prepares what the chart expects to exist: the Secrets from docs/kubernetes.md, and a PostgreSQL server with TLS and a
// password.
// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { must } from './process.mjs'

export const REGION = 'eu-west-1'
/** Host names of the database server in the configurations that the checks use. */
export const DATABASE_NAMES = ['postgres', 'db.example.com']
export const built = (path) => import(new URL(`../dist/${path}`, import.meta.url))

export async function prepareSite(folder, network, postgres) {
  const { createAuthority, issueCertificate } = await built('certs/dev-pki.js')
  const [server, kms] = [await createAuthority('server CA'), await createAuthority('KMS CA')]
  const names = Array.from({ length: 30 }, (_, i) => network.host.replace(/1$/, String(i + 10)))
  const xks = await issueCertificate(server, { commonName: 'xks', names, usage: 'server' })
  const subject = { commonName: `cks.kms.${REGION}.amazonaws.com`, usage: 'client' }
  const client = await issueCertificate(kms, subject)
  const files = join(folder, 'site')
  mkdirSync(files)
  const put = (name, text) => {
    writeFileSync(join(files, name), text, { mode: 0o600 })
    return join(files, name)
  }
  const object = (kind, name, data) => ({ kind, metadata: { name }, data })
  return {
    objects: [
      object('Secret', 'latchkey-tls', { 'tls.crt': xks.certificate, 'tls.key': xks.privateKey }),
      object('Secret', 'latchkey-secrets', {
        passphrase: 'a passphrase of some length',
        'postgres-password': postgres.password,
        'postgres-ca.pem': postgres.ca,
      }),
      object('ConfigMap', 'latchkey-client-ca', { 'ca.pem': kms.certificatePem }),
    ],
    caFile: put('ca.crt', server.certificatePem),
    clientCertificate: {
      certificateFile: put('kms.crt', client.certificate),
      privateKeyFile: put('kms.key', client.privateKey),
    },
  }
}

/**
 * Starts PostgreSQL with a password, listening on the bridge's address. It accepts TLS connections and, if `isPlain` is
 * set, also unencrypted ones.
 */
export async function startPostgres(
  folder,
  host,
  { password = 'a password of some length', isPlain = false } = {},
) {
  const { createAuthority, issueCertificate } = await built('certs/dev-pki.js')
  const authority = await createAuthority('database CA')
  const issued = await issueCertificate(authority, {
    commonName: 'postgres',
    names: DATABASE_NAMES,
    usage: 'server',
  })
  const versions = readdirSync('/usr/lib/postgresql').sort((a, b) => Number(b) - Number(a))
  const bin = `/usr/lib/postgresql/${versions[0]}/bin`
  const data = join(folder, 'data')
  const as = (...words) =>
    must('setpriv', ['--reuid=postgres', '--regid=postgres', '--init-groups', ...words])
  mkdirSync(folder)
  for (const [name, text] of [
    ['password', password],
    ['server.crt', issued.certificate],
    ['server.key', issued.privateKey],
  ]) {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
  }
  await must('chmod', ['711', join(folder, '..')])
  await must('chown', ['-R', 'postgres:postgres', folder])
  const auth = ['-A', 'scram-sha-256', `--pwfile=${join(folder, 'password')}`, '--no-sync']
  await as(`${bin}/initdb`, '-D', data, '-U', 'latchkey', ...auth, '-E', 'UTF8', '--locale=C.UTF-8')
  writeFileSync(
    join(data, 'pg_hba.conf'),
    `${isPlain ? 'host' : 'hostssl'} all all all scram-sha-256\nlocal all all trust\n`,
  )
  const settings = {
    ...{ listen_addresses: host, unix_socket_directories: folder, ssl: 'on', fsync: 'off' },
    ...{ ssl_cert_file: join(folder, 'server.crt'), ssl_key_file: join(folder, 'server.key') },
  }
  const options = Object.entries(settings).map(([name, value]) => `-c ${name}=${value}`)
  const control = (...words) => as(`${bin}/pg_ctl`, '-D', data, '-w', ...words)
  await control('-l', join(folder, 'log'), '-o', options.join(' '), 'start')
  const psql = (database, ...words) =>
    must(`${bin}/psql`, ['-h', folder, '-U', 'latchkey', '-d', database, '-q', ...words])
  await psql('postgres', '-c', 'CREATE DATABASE latchkey')
  return {
    password,
    ca: authority.certificatePem,
    async dump() {
      const file = join(folder, 'dump.sql')
      await must(`${bin}/pg_dump`, ['-h', folder, '-U', 'latchkey', '-f', file, 'latchkey'])
      return file
    },
    async restore(file) {
      await psql('postgres', '-c', 'DROP DATABASE latchkey', '-c', 'CREATE DATABASE latchkey')
      await psql('latchkey', '-f', file)
    },
    stop: () => control('-m', 'immediate', 'stop'),
  }
}
