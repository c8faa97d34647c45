/** A development PKI shared by all tests in a build, because generating RSA keys takes a while. */
// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import forge from 'node-forge'
import {
  createAuthority,
  issueCertificate,
  type Authority,
  type CertificateRequest,
  type Issued,
} from '../../certs/dev-pki.ts'

export interface TestPki {
  readonly folder: string
  readonly authority: Authority
  readonly caFile: string
  readonly certificateFile: string
  readonly privateKeyFile: string
  /** Issues another certificate, from the same authority or from `by`, and returns its files. */
  issue(
    name: string,
    request: CertificateRequest,
    by?: Authority,
  ): Promise<{ readonly certificateFile: string; readonly privateKeyFile: string }>
}

let shared: Promise<TestPki> | undefined

export function testPki(): Promise<TestPki> {
  shared ??= create()
  return shared
}

export const SERVER_CERTIFICATE: CertificateRequest = {
  commonName: 'localhost',
  names: ['localhost', '127.0.0.1', '::1'],
  usage: 'server',
}

/** PEM-encoded certificates that one process creates and others reuse. */
interface Kept {
  readonly authority: Issued
  readonly server: Issued
}

/** Path of the stored certificates, next to the compiled tests, so that each build has a new PKI. */
const KEPT = fileURLToPath(new URL('../../pki.json', import.meta.url))

async function loadKept(): Promise<Kept> {
  try {
    return JSON.parse(readFileSync(KEPT, 'utf8')) as Kept
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  const authority = await createAuthority('Latchkey test CA')
  const kept: Kept = {
    authority: {
      certificate: authority.certificatePem,
      privateKey: forge.pki.privateKeyToPem(authority.privateKey),
    },
    server: await issueCertificate(authority, SERVER_CERTIFICATE),
  }
  // If several processes create a PKI at once, each continues with its own, and later processes use the one written
  // last.
  const own = `${KEPT}.${String(process.pid)}`
  writeFileSync(own, JSON.stringify(kept), { mode: 0o600 })
  renameSync(own, KEPT)
  return kept
}

async function create(): Promise<TestPki> {
  const kept = await loadKept()
  const authority: Authority = {
    certificatePem: kept.authority.certificate,
    certificate: forge.pki.certificateFromPem(kept.authority.certificate),
    privateKey: forge.pki.privateKeyFromPem(kept.authority.privateKey),
  }
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-pki-'))
  process.once('exit', () => {
    rmSync(folder, { recursive: true, force: true })
  })
  const caFile = join(folder, 'ca.crt')
  writeFileSync(caFile, authority.certificatePem)
  const write = (name: string, issued: Issued) => {
    const files = {
      certificateFile: join(folder, `${name}.crt`),
      privateKeyFile: join(folder, `${name}.key`),
    }
    writeFileSync(files.certificateFile, issued.certificate)
    writeFileSync(files.privateKeyFile, issued.privateKey, { mode: 0o600 })
    return files
  }
  const issue: TestPki['issue'] = async (name, request, by = authority) =>
    write(name, await issueCertificate(by, request))
  return { folder, authority, caFile, ...write('server', kept.server), issue }
}
