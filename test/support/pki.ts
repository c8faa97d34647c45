/** One development PKI for a test process: RSA keys take a while to make. */
// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, writeFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  createAuthority,
  issueCertificate,
  type Authority,
  type CertificateRequest,
} from '../../certs/dev-pki.ts'

export interface TestPki {
  readonly folder: string
  readonly authority: Authority
  readonly caFile: string
  readonly certificateFile: string
  readonly privateKeyFile: string
  /** Files of a further certificate of the same authority, or of `by`. */
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

async function create(): Promise<TestPki> {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-pki-'))
  process.once('exit', () => {
    rmSync(folder, { recursive: true, force: true })
  })
  const authority = await createAuthority('Latchkey test CA')
  const caFile = join(folder, 'ca.crt')
  writeFileSync(caFile, authority.certificatePem)
  const issue: TestPki['issue'] = async (name, request, by = authority) => {
    const issued = await issueCertificate(by, request)
    const files = {
      certificateFile: join(folder, `${name}.crt`),
      privateKeyFile: join(folder, `${name}.key`),
    }
    writeFileSync(files.certificateFile, issued.certificate)
    writeFileSync(files.privateKeyFile, issued.privateKey, { mode: 0o600 })
    return files
  }
  return { folder, authority, caFile, ...(await issue('server', SERVER_CERTIFICATE)), issue }
}
