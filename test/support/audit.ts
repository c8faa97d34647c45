/** Creates logs, with a real server or entry by entry, and reads them without using src/audit. */
// SPDX-License-Identifier: Apache-2.0
import { createHmac, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import {
  closeLogFolder,
  createLogFolder,
  deriveLogSeed,
  listLogs,
} from '../../src/audit/writer/log-folder.ts'
import { startAuditLog, type AuditLog } from '../../src/audit/writer/audit-log.ts'
import { recoverLogs } from '../../src/audit/writer/log-recovery.ts'
import { verifyLog, type LogReport } from '../../src/audit/reader/verify-log.ts'
import { CONTROL_LOG } from '../../src/audit/writer/log-folder.ts'
import type { RequestRecord } from '../../src/core/request.ts'
import { createSigner, type Signer } from '../../src/core/signature.ts'
import { openSigner } from '../../src/killswitch/receipt/signing-key.ts'
import { openStore } from '../../src/store/store.ts'
import { toStoreOptions } from '../../src/app/store.ts'
import type { Config } from '../../src/config/config.ts'
import { temporaryFolder } from './cli.ts'
import { plainRoot } from './merkle.ts'

export type Entry = Readonly<Record<string, unknown>>

/** Returns the public half of the receipt key for the configured store. */
export async function publicKeyOf(config: Config): Promise<string> {
  const store = await openStore(await toStoreOptions(config))
  try {
    return (await openSigner(store)).publicKey
  } finally {
    await store.close()
  }
}

/** Returns the folders of the process logs, without the control log. */
export async function logsOf(config: Config): Promise<readonly string[]> {
  const names = await listLogs(config.audit.folder)
  return names.filter((name) => name !== CONTROL_LOG).map((name) => join(config.audit.folder, name))
}

/**
 * Reads a log as a third party would, using only the specification, and verifies its root.
 * @returns the log's entries
 * @throws if the files do not hash to the checkpoint's root
 */
export function readPlainly(folder: string): readonly Entry[] {
  const [, size = '', root = ''] = readFileSync(join(folder, 'checkpoint'), 'utf8').split('\n')
  const bundles = readdirSync(join(folder, 'tile/entries'), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\d$/.test(name))
    .map((name) => ({
      name,
      first: firstOf(name),
      width: Number(/\.p\/(\d+)$/.exec(name)?.[1] ?? 256),
    }))
    .sort((a, b) => a.first - b.first || b.width - a.width)
  const entries: Buffer[] = []
  for (const { name, first } of bundles) {
    if (first !== entries.length || entries.length >= Number(size)) continue
    const path = join(folder, 'tile/entries', name)
    const bytes = readFileSync(path)
    for (let at = 0; at < bytes.length;) {
      const end = at + 2 + bytes.readUInt16BE(at)
      entries.push(bytes.subarray(at + 2, end))
      at = end
    }
  }
  const whole = entries.slice(0, Number(size))
  if (plainRoot(whole).toString('base64') !== root) throw new Error(`${folder}: another root`)
  return whole.map((one) => JSON.parse(one.toString('utf8')) as Entry)
}

/** Returns the index of a bundle's first entry, derived from a bundle name such as `x001/234.p/5`. */
function firstOf(name: string): number {
  const digits = name.replace(/\.p\/\d+$/, '').replaceAll(/[x/]/g, '')
  return Number(digits) * 256
}

/** Makes the process that wrote a log look as if it had run before the last reboot. */
export function disown(folder: string): void {
  const owner = join(folder, 'owner.json')
  const facts = JSON.parse(readFileSync(owner, 'utf8')) as object
  writeFileSync(owner, JSON.stringify({ ...facts, boot: 'another' }))
}

export interface LooseFolder {
  readonly folder: string
  readonly origin: string
  /** The log's private key. */
  readonly seed: Uint8Array
  readonly publicKey: string
  /** Signs with the receipt key of the store that owns the log. */
  readonly certify: Signer
  verify(folder?: string): Promise<LogReport>
  /** Completes the log, as the next start of a server would. */
  recover(): Promise<void>
  /** Copies the log, so that the test can modify the copy. */
  copy(name: string): Promise<string>
}

export interface LooseLog extends LooseFolder {
  readonly log: AuditLog
  stop(): Promise<void>
}

/**
 * Creates the folder of a log without a server or a store, and writes no entry.
 * @param where the folder for all logs
 */
export async function looseFolder(t: Test, where?: string): Promise<LooseFolder> {
  const root = where ?? (await temporaryFolder(t))
  const storeKey = randomBytes(32)
  const certify = createSigner(randomBytes(32), 'audit')
  const derive = (purpose: string) => createHmac('sha256', storeKey).update(purpose).digest()
  const { folder, certificate } = await createLogFolder({
    ...{ root, derive, certify, logId: 'log', storeId: 'test', host: 'host', pid: process.pid },
    ...{ worker: 0, version: '0', startedAt: new Date(0).toISOString() },
  })
  const { origin } = certificate
  return {
    ...{ folder, origin, seed: deriveLogSeed(derive, origin) },
    ...{ certify, publicKey: certify.publicKey },
    verify: (other = folder) => verifyLog(other, { publicKey: certify.publicKey }),
    async recover() {
      disown(folder)
      const onFailed = (_folder: string, error: unknown) => t.fail(String(error))
      await recoverLogs({ root, host: 'host', derive, onFailed })
    },
    async copy(name) {
      const to = join(root, name)
      await cp(folder, to, { recursive: true })
      return to
    },
  }
}

/**
 * Starts a log without a server or a store.
 * @param where the folder for all logs
 */
export async function looseLog(t: Test, where?: string): Promise<LooseLog> {
  const loose = await looseFolder(t, where)
  const { folder, origin, seed } = loose
  const log = await startAuditLog({
    ...{ folder, origin, seed, checkpointMs: 50 },
    start: { time: new Date(0).toISOString() },
    onFailing: () => undefined,
    onWorking: () => undefined,
  })
  let isStopped = false
  const stop = async () => {
    if (isStopped) return
    isStopped = true
    if ((await log.stop(new Date(0).toISOString())) !== undefined) await closeLogFolder(folder)
  }
  t.teardown(stop)
  return { ...loose, log, stop }
}

/**
 * Plants a log that the store certifies but never recorded, as someone with the store's key could.
 * @returns the log's name
 */
export async function plantLog(
  config: Config,
  { startedAt, root = config.audit.folder }: { readonly startedAt: number; readonly root?: string },
): Promise<string> {
  const store = await openStore(await toStoreOptions(config))
  try {
    const { derive } = store.sealing
    const time = new Date(startedAt).toISOString()
    const logId = `planted-${randomBytes(4).toString('hex')}`
    const { folder, certificate } = await createLogFolder({
      ...{ root, derive, certify: await openSigner(store, 'audit'), logId, storeId: store.id },
      ...{ host: 'host', pid: process.pid, worker: 0, version: '0', startedAt: time },
    })
    const log = await startAuditLog({
      ...{ folder, origin: certificate.origin, checkpointMs: 50, start: { time } },
      seed: deriveLogSeed(derive, certificate.origin),
      onFailing: () => undefined,
      onWorking: () => undefined,
    })
    log.record(decryptRecord('forged'))
    if ((await log.stop(time)) !== undefined) await closeLogFolder(folder)
    return logId
  } finally {
    await store.close()
  }
}

/** Returns a request record as the pipeline leaves it after a Decrypt. */
export function decryptRecord(kmsRequestId: string): RequestRecord {
  return {
    ...{ at: 1_790_000_000_000, remoteAddress: '192.0.2.1', httpVersion: '1.1', method: 'POST' },
    ...{ target: '/', bodyBytes: 500, keyStore: 'demo', operation: 'Decrypt', keyId: 'test-key' },
    ...{ keyVersion: 1, status: 200, accessKeyId: 'AAAAAAAAAAAAAAAAAAAA', region: 'us-east-1' },
    metadata: {
      ...{ kmsRequestId, kmsOperation: 'Decrypt' },
      awsPrincipalArn: 'arn:aws:iam::123456789012:user/Alice',
      kmsKeyArn: 'arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab',
    },
    stages: [0.1, 0.2],
    totalMs: 0.3,
  }
}

/** Returns a record whose entry has about 4 KiB. */
export function longRecord(id: string): RequestRecord {
  const record = decryptRecord(id)
  const awsPrincipalArn = 'a'.repeat(2000)
  const metadata = { kmsOperation: 'Decrypt', ...record.metadata, kmsRequestId: id }
  return { ...record, metadata: { ...metadata, awsPrincipalArn, kmsViaService: 'v'.repeat(2000) } }
}
