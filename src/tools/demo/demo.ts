/**
 * The `quickstart` folder, with certificates, a configuration, a control store, a key and a
 * credential.
 */
// SPDX-License-Identifier: Apache-2.0
import { createHash, randomBytes } from 'node:crypto'
import { access, mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createAuthority, issueCertificate } from '../../../certs/dev-pki.ts'
import { initializeStore, openAdministration, storeExists } from '../../app/administration.ts'
import type { Config } from '../../config/config.ts'
import { loadConfig } from '../../config/load.ts'
import { parseExternalKeyId } from '../../core/ids.ts'
import { UsageError } from '../../terminal/command.ts'
import { toConsoleFile, writeNewFile, writePrivateFile } from '../../terminal/files.ts'
import { renderFirstConfig } from './config-template.ts'

export interface Demo {
  readonly configFile: string
  readonly caFile: string
  readonly consoleFile: string
  /**
   * Configuration file for curl's --config. It contains the credential, to keep it off the command
   * line.
   */
  readonly curlFile: string
  readonly logFile: string
  /** File with the token for the console. */
  readonly tokenFile: string
  readonly uriPath: string
  readonly keyId: string
}

const KEY_ID = 'demo-key'
const TOKEN_BYTES = 32

export interface DemoOptions {
  /**
   * Gives a new demo an admin listener, with the console on the port after the proxy's (default:
   * false).
   */
  readonly withConsole?: boolean
}

/**
 * Creates the parts of the demo that are missing, and keeps those that exist.
 * @param port port to use for a new demo
 */
export async function prepareDemo(
  folder: string,
  port: number,
  { withConsole = false }: DemoOptions = {},
): Promise<Demo> {
  const at = (name: string) => join(folder, name)
  const demo: Demo = {
    configFile: at('latchkey.yaml'),
    caFile: at('pki/ca.crt'),
    consoleFile: at('kms-console.json'),
    curlFile: at('curl.conf'),
    logFile: at('latchkey.log'),
    tokenFile: at('console.token'),
    uriPath: '/demo/kms/xks/v1',
    keyId: KEY_ID,
  }
  await mkdir(at('pki'), { recursive: true, mode: 0o700 })
  // The last file of each step marks the step as done.
  if (!(await exists(at('pki/server.key')))) await makePki(demo, at)
  if (!(await exists(demo.configFile))) {
    const token = withConsole ? await prepareToken(demo.tokenFile) : undefined
    const text = renderConfig(port, token)
    await writeNewFile(demo.configFile, text, 0o644)
  }
  const config = await loadConfig(demo.configFile)
  if (!(await storeExists(config))) await initializeStore(config)
  await prepareStore(config, demo)
  return demo
}

/**
 * Returns the port of the console, which is the one after the proxy's. Returns 0, which selects any
 * free port, if the proxy's port is 0 or the highest port.
 */
export function consolePort(port: number): number {
  return port === 0 || port === 65_535 ? 0 : port + 1
}

/** @returns the SHA-256 of the token, in hex */
async function prepareToken(path: string): Promise<string> {
  if (!(await exists(path))) {
    await writePrivateFile(path, `latchkey_${randomBytes(TOKEN_BYTES).toString('base64url')}\n`)
  }
  const token = (await readFile(path, 'utf8')).trim()
  return createHash('sha256').update(token).digest('hex')
}

function renderConfig(port: number, tokenSha256: string | undefined): string {
  return renderFirstConfig({
    host: '127.0.0.1',
    port,
    certificate: 'pki/server.crt',
    privateKey: 'pki/server.key',
    keyStore: 'demo',
    prefix: '/demo',
    isTrial: true,
    ...(tokenSha256 && { admin: { port: consolePort(port), tokenSha256 } }),
  })
}

async function makePki(demo: Demo, at: (name: string) => string): Promise<void> {
  const authority = await createAuthority('Latchkey development CA')
  const server = await issueCertificate(authority, {
    commonName: 'localhost',
    names: ['localhost', '127.0.0.1', '::1'],
    usage: 'server',
  })
  // An interrupted run may have left the first two files.
  for (const path of [demo.caFile, at('pki/server.crt')]) await rm(path, { force: true })
  await writeNewFile(demo.caFile, authority.certificatePem, 0o644)
  await writeNewFile(at('pki/server.crt'), server.certificate, 0o644)
  await writePrivateFile(at('pki/server.key'), server.privateKey)
}

async function prepareStore(config: Config, demo: Demo): Promise<void> {
  const [keyStore] = config.keyStores
  const keyId = parseExternalKeyId(KEY_ID)
  if (keyStore === undefined || keyId === undefined)
    throw new TypeError('the demo has no key store')
  const administration = await openAdministration(config)
  try {
    const keys = administration.keys(keyStore.name)
    if (!(await keys.listKeys()).some((key) => key.keyId === keyId)) {
      await keys.createKey({ keyId, canEncrypt: true, canDecrypt: true })
    }
    if (!(await exists(demo.consoleFile))) {
      const credential = await administration.credentials.create(keyStore.name)
      const file = toConsoleFile(keyStore, credential)
      await writePrivateFile(demo.consoleFile, `${JSON.stringify(file, undefined, 2)}\n`)
    }
  } finally {
    await administration.close()
  }
  if (!(await exists(demo.curlFile))) {
    const { accessKeyId, secretAccessKey } = await readCredential(demo)
    await writePrivateFile(demo.curlFile, `user = "${accessKeyId}:${secretAccessKey}"\n`)
  }
}

export async function readCredential(demo: Demo) {
  const file = JSON.parse(await readFile(demo.consoleFile, 'utf8')) as ReturnType<
    typeof toConsoleFile
  >
  const { AccessKeyId, RawSecretAccessKey } = file.XksProxyAuthenticationCredential
  if (typeof AccessKeyId !== 'string' || typeof RawSecretAccessKey !== 'string') {
    throw new UsageError('INPUT_INVALID', `${demo.consoleFile} contains no credential`)
  }
  return { accessKeyId: AccessKeyId, secretAccessKey: RawSecretAccessKey }
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
