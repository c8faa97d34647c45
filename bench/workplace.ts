/** The folder for a run: a Latchkey demo, and the certificates that all servers share. */
// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process'
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { prepareDemo, type Demo } from '../src/tools/demo/demo.ts'
import type { CertificateKind } from './matrix.ts'

export interface Workplace {
  readonly folder: string
  readonly demo: Demo
  /** Request deadline, as a duration in the configuration. */
  readonly patience: string
  /** PEM bundle with which a client trusts both certificates. */
  readonly caFile: string
  certificate(kind: CertificateKind): {
    readonly certificateFile: string
    readonly privateKeyFile: string
  }
}

/** A long deadline, because only the rate is measured and no request should be refused as late. */
export const PATIENCE = '20s'

/**
 * The 2048-bit RSA certificate is the demo's. The ECDSA P-256 certificate requires openssl, because node-forge cannot
 * sign with ECDSA.
 */
export async function prepareWorkplace(folder: string, patience = PATIENCE): Promise<Workplace> {
  const demo = await prepareDemo(folder, 0)
  appendFileSync(demo.configFile, `limits: { requestDeadline: ${patience} }\n`)
  const at = (name: string) => join(folder, 'pki', name)
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
      ...['-sha256', '-days', '30', '-subj', '/CN=localhost'],
      ...['-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'],
      ...['-keyout', at('p256.key'), '-out', at('p256.crt')],
    ],
    { stdio: 'ignore' },
  )
  const caFile = at('both.crt')
  writeFileSync(
    caFile,
    [demo.caFile, at('p256.crt')].map((file) => readFileSync(file, 'utf8')).join(''),
  )
  return {
    ...{ folder, demo, caFile, patience },
    certificate: (kind) => {
      const name = kind === 'rsa' ? 'server' : 'p256'
      return { certificateFile: at(`${name}.crt`), privateKeyFile: at(`${name}.key`) }
    },
  }
}
