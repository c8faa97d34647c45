/** A development PKI shared by all tests in a build, because generating RSA keys takes a while. */
// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import forge from 'node-forge'
import {
  createAuthority,
  generateKey,
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

function readIfPresent(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return undefined
  }
}

/** Writes a file that other processes see only when complete. If several processes write it, the last one wins. */
function writeForOthers(file: string, text: string): void {
  const own = `${file}.${String(process.pid)}`
  writeFileSync(own, text, { mode: 0o600 })
  renameSync(own, file)
}

/** Folder that caches private keys, because generating an RSA key takes a fifth of a second. */
const KEYS = fileURLToPath(new URL('../../keys', import.meta.url))
let keysUsed = 0

/** Returns a private key in PEM that this process has not used yet. Other processes use the same keys. */
async function nextKey(): Promise<string> {
  keysUsed += 1
  const file = join(KEYS, `${String(keysUsed)}.txt`)
  const kept = readIfPresent(file)
  if (kept !== undefined) return kept
  const key = await generateKey()
  mkdirSync(KEYS, { recursive: true })
  writeForOthers(file, key)
  return key
}

/** Creates another authority. */
export function newAuthority(commonName: string): Promise<Authority> {
  return createAuthority(commonName, nextKey)
}

async function loadKept(): Promise<Kept> {
  const text = readIfPresent(KEPT)
  if (text !== undefined) return JSON.parse(text) as Kept
  const authority = await createAuthority('Latchkey test CA')
  const kept: Kept = {
    authority: {
      certificate: authority.certificatePem,
      privateKey: forge.pki.privateKeyToPem(authority.privateKey),
    },
    server: await issueCertificate(authority, SERVER_CERTIFICATE),
  }
  // If several processes create a PKI at once, each continues with its own.
  writeForOthers(KEPT, JSON.stringify(kept))
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
    write(name, await issueCertificate(by, request, nextKey))
  return { folder, authority, caFile, ...write('server', kept.server), issue }
}
