/**
 * Checks what a configuration depends on: files, keys, folders and ports. It uses the same code as
 * `serve`, changes nothing, uses no PIN and does not open the store.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes, X509Certificate } from 'node:crypto'
import { constants } from 'node:fs'
import { access, lstat, readFile, stat } from 'node:fs/promises'
import { createServer } from 'node:net'
import { dirname } from 'node:path'
import type { Config } from '../config/config.ts'
import type { Fault } from '../config/faults.ts'
import { systemClock as clock } from '../core/clock.ts'
import { openHighWater } from '../killswitch/instance/high-water.ts'
import { checkPolicyState, loadPolicyFolder } from '../policy/policy-files.ts'
import { listen } from '../server/listen.ts'
import { checkClientFiles, loadTlsMaterial } from '../server/tls/material.ts'
import { StorageError } from '../store/database.ts'
import { createMasterKey } from '../store/master-key.ts'
import { inspectSqlite } from '../store/sqlite/inspect.ts'
import { toTlsFiles } from './admin.ts'
import { loadWitnessPolicy } from './control-log.ts'
import { checkWebhook } from './webhooks.ts'

export interface ConfigurationCheck {
  /** Errors that would stop `serve`, or make it refuse every request. */
  readonly faults: readonly Fault[]
  /** Settings that work but are probably wrong. */
  readonly warnings: readonly Fault[]
}

type Report = (path: string, message: string) => void

export async function checkConfiguration(config: Config): Promise<ConfigurationCheck> {
  const faults: Fault[] = []
  const warnings: Fault[] = []
  const fault: Report = (path, message) => faults.push({ path, message })
  const warn: Report = (path, message) => warnings.push({ path, message })
  await checkCertificates(config, fault, warn)
  await checkStore(config, fault, warn)
  await checkState(config, fault, warn)
  await checkAudit(config, fault)
  await checkModules(config, fault)
  await checkPolicies(config, fault)
  await checkWebhooks(config, fault)
  await checkPorts(config, fault, warn)
  return { faults, warnings }
}

/** Runs a check, and reports what it throws. */
async function attempt(path: string, fault: Report, check: () => Promise<unknown>): Promise<void> {
  try {
    await check()
  } catch (error) {
    if (!(error instanceof Error)) throw error
    const { hint } = error as { readonly hint?: string }
    fault(path, hint === undefined ? error.message : `${error.message}; ${hint}`)
  }
}

async function checkCertificates(config: Config, fault: Report, warn: Report): Promise<void> {
  const { listener, admin } = config
  const adminFiles = admin && toTlsFiles(admin)
  for (const [path, files] of [
    ['listener.tls', listener],
    ['admin.tls', adminFiles],
  ] as const) {
    if (files === undefined) continue
    await attempt(path, fault, async () => {
      const { certificate } = await loadTlsMaterial(files, clock.now())
      await checkChain(files.tls.certificateFile, certificate, (message) => {
        warn(`${path}.certificate`, message)
      })
      const { mode } = await stat(files.tls.privateKeyFile)
      if ((mode & 0o007) !== 0)
        warn(
          `${path}.privateKey`,
          `anyone can read ${files.tls.privateKeyFile}; run chmod 640 on it`,
        )
    })
  }
}

/**
 * Warns if the file does not contain a complete certificate chain. KMS has only the root
 * certificates, so the server must send every intermediate certificate.
 */
async function checkChain(
  file: string,
  leaf: X509Certificate,
  warn: (message: string) => void,
): Promise<void> {
  const blocks = (await readFile(file, 'latin1')).match(/-----BEGIN CERTIFICATE-----[^-]+-----END/g)
  const chain = (blocks ?? []).map((block) => new X509Certificate(`${block} CERTIFICATE-----`))
  const isSelfIssued = leaf.checkIssued(leaf)
  if (chain.length === 1 && !isSelfIssued)
    warn(
      `${file} contains no intermediate certificate, but its certificate was issued by ${leaf.issuer.split('\n').join(', ')}`,
    )
  const broken = chain.findIndex((one, i) => {
    const next = chain[i + 1]
    return next !== undefined && !(one.checkIssued(next) && one.verify(next.publicKey))
  })
  if (broken >= 0)
    warn(
      `${file}: certificate ${String(broken + 2)} did not issue certificate ${String(broken + 1)}`,
    )
}

async function checkPolicies({ policy: { folder } }: Config, fault: Report): Promise<void> {
  if (folder === undefined) return
  await attempt('policy.folder', fault, async () => {
    await checkPolicyState(await loadPolicyFolder(folder))
  })
}

/** Checks the settings of each webhook without sending anything. */
async function checkWebhooks({ webhooks }: Config, fault: Report): Promise<void> {
  for (const [i, webhook] of webhooks.entries())
    await attempt(`webhooks[${String(i)}].to`, fault, () => checkWebhook(webhook))
}

async function checkStore({ store }: Config, fault: Report, warn: Report): Promise<void> {
  const { masterKey, path, postgres } = store
  if (masterKey.kind === 'file') {
    await attempt('store.masterKey.file', fault, () =>
      createMasterKey(masterKey).wrap(randomBytes(32)),
    )
  }
  if (path !== undefined) {
    await attempt('store.path', fault, async () => {
      const found = await stat(path).catch(() => undefined)
      if (found === undefined)
        throw new Error(`${path}: there is no store; run latchkey init to create one`)
      await access(path, constants.R_OK | constants.W_OK)
      await checkStoreFile(path, masterKey, warn)
    })
    await checkFolder('store.path', path, fault, warn)
  }
  if (postgres === undefined) return
  const { tls, passwordFile } = postgres
  if (passwordFile !== undefined)
    await attempt('store.postgres', fault, () => access(passwordFile, constants.R_OK))
  if (tls !== undefined) {
    await attempt('store.postgres.tls', fault, () => checkClientFiles(tls))
    const { certificateFile, privateKeyFile } = tls
    if ((certificateFile === undefined) !== (privateKeyFile === undefined))
      fault('store.postgres.tls', 'expected both certificate and privateKey, or neither')
  }
  const isLocal = /^(localhost|127\.[\d.]+|::1|\[::1\]|\/.*)$/.test(postgres.host)
  if (tls === undefined && !isLocal)
    warn('store.postgres.tls.mode', `the connection to ${postgres.host} is not encrypted`)
}

/** A master key on a token is not tested, because that needs a PIN. */
async function checkStoreFile(
  path: string,
  masterKey: Config['store']['masterKey'],
  warn: Report,
): Promise<void> {
  const { masterKeyRecord, hasWal } = await inspectSqlite(path)
  if (masterKeyRecord === undefined || masterKey.kind === 'pkcs11') return
  try {
    const storeKey = await createMasterKey(masterKey).unwrap(masterKeyRecord)
    storeKey.fill(0)
  } catch (error) {
    const isWrong = error instanceof StorageError && error.code !== 'MASTER_KEY_UNREADABLE'
    // Another check reports files that cannot be read.
    if (!isWrong) return
    if (!hasWal) throw error
    warn('store.masterKey', `${error.message} (checked against the last checkpoint of the store)`)
  }
}

/** The server creates the folder and its parents. */
async function checkAudit({ audit }: Config, fault: Report): Promise<void> {
  const { mode, folder, witnesses } = audit
  if (mode === 'off') return
  if (witnesses !== undefined) {
    await attempt('audit.witnesses.policy', fault, () => loadWitnessPolicy(witnesses.policy))
  }
  await attempt('audit.folder', fault, async () => {
    const place = await nearestFolder(folder)
    if (!(await stat(place)).isDirectory()) throw new Error(`${place} is not a folder`)
    await access(place, constants.W_OK | constants.X_OK)
  })
}

async function nearestFolder(path: string): Promise<string> {
  try {
    await lstat(path)
    return path
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if ((code !== 'ENOENT' && code !== 'ENOTDIR') || dirname(path) === path) throw error
    return nearestFolder(dirname(path))
  }
}

/** @param file path of a file; the server must be able to create files in the same folder */
async function checkFolder(path: string, file: string, fault: Report, warn: Report): Promise<void> {
  const folder = dirname(file)
  await attempt(path, fault, async () => {
    await access(folder, constants.W_OK | constants.X_OK)
    const { mode } = await stat(folder)
    // Without the sticky bit, any user could replace the file.
    if ((mode & 0o002) !== 0 && (mode & 0o1000) === 0)
      warn(path, `anyone can write to ${folder}; run chmod 750 on it`)
  })
}

async function checkState({ control }: Config, fault: Report, warn: Report): Promise<void> {
  const { highWaterFile, sentinelFile } = control
  // openHighWater writes a temporary file beside the mark and removes it, as a server does at
  // startup.
  await attempt('control.highWaterFile', fault, () => openHighWater(highWaterFile, ''))
  const found = await lstat(sentinelFile).catch((error: unknown) => error)
  if (!(found instanceof Error))
    warn('control.sentinelFile', `${sentinelFile} exists, so this host refuses all requests`)
  await checkFolder('control.sentinelFile', sentinelFile, warn, warn)
}

async function checkModules({ backends }: Config, fault: Report): Promise<void> {
  for (const [i, { module }] of backends.entries()) {
    // The dynamic linker resolves a name without a slash. `latchkey pkcs11 probe` tests whether the
    // module works.
    if (!module.includes('/')) continue
    await attempt(`backends[${String(i)}].module`, fault, () => access(module, constants.R_OK))
  }
}

async function checkPorts(config: Config, fault: Report, warn: Report): Promise<void> {
  const { listener, admin, metrics } = config
  for (const [path, address] of [
    ['listener', listener],
    ['listener.ping', listener.ping],
    ['admin', admin],
    ['metrics', metrics],
  ] as const) {
    if (address === undefined) continue
    const server = createServer()
    try {
      await listen(server, address)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      const at = `${address.host}:${String(address.port)}`
      if (code === 'EADDRINUSE')
        warn(path, `${at} is in use; that is expected while Latchkey is running`)
      else fault(path, `cannot listen on ${at} (${String(code)})`)
    } finally {
      server.close()
    }
  }
}
