/**
 * Writes a log of five million requests and as many CloudTrail events, some of them forged, dropped or modified, and
 * checks that `latchkey audit reconcile` reports exactly these differences. Prints the duration and the peak memory
 * usage. RECORDS sets the number of requests and of events. FOLDER names a folder that keeps the files for later runs.
 * Run by hand:
 *
 *     node .test-build/test/by-hand/audit-reconcile.js
 */
// SPDX-License-Identifier: Apache-2.0
import { createHmac, hash } from 'node:crypto'
import { closeSync, existsSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { GrowingTree } from '../../src/audit/log/tiles.ts'
import { encodeRequest } from '../../src/audit/request-entry.ts'
import {
  closeLogFolder,
  createLogFolder,
  deriveLogSeed,
} from '../../src/audit/writer/log-folder.ts'
import { LogFiles } from '../../src/audit/writer/log-files.ts'
import { createSigner } from '../../src/core/signature.ts'
import { createNoteSigner } from '../../src/core/tlog/note.ts'
import { decryptRecord } from '../support/audit.ts'
import { startLatchkey, temporaryFolder } from '../support/cli.ts'

t.setTimeout(3_600_000)

const RECORDS = Number(process.env['RECORDS'] ?? 5_000_000)
const BATCH = 25_600
/** One request in this many differs between the two sides. */
const EVERY = 10_007
const START = Date.UTC(2026, 0, 1)
const STEP_MS = 20
const KINDS = ['not-in-cloudtrail', 'not-in-log', 'principal-differs', 'repeated'] as const

const kindOf = (i: number) =>
  i > 0 && i % EVERY === 0 && i < RECORDS - 1 ? KINDS[(i / EVERY) % KINDS.length] : undefined
const certifier = createSigner(Buffer.alloc(32, 1), 'audit')
const derive = (purpose: string) =>
  createHmac('sha256', Buffer.alloc(32, 2)).update(purpose).digest()

function idOf(i: number): string {
  const hex = hash('sha256', String(i), 'hex')
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20, 32),
  ].join('-')
}

async function write(root: string, trail: string): Promise<void> {
  const { folder, certificate } = await createLogFolder({
    ...{ root, derive, certify: certifier, logId: 'log', storeId: 'test', host: 'host' },
    ...{ pid: process.pid, worker: 0, version: '0', startedAt: new Date(START).toISOString() },
  })
  const signer = createNoteSigner(certificate.origin, deriveLogSeed(derive, certificate.origin))
  const files = new LogFiles(folder, signer, { tree: new GrowingTree(), bundle: [] })
  const sample = decryptRecord('')
  const fd = openSync(trail, 'w')
  let seq = 0
  for (let from = 0; from < RECORDS; from += BATCH) {
    const entries: Buffer[] = []
    const lines: string[] = []
    for (let i = from; i < Math.min(from + BATCH, RECORDS); i++) {
      const kind = kindOf(i)
      const id = idOf(i)
      const principal = `arn:aws:iam::123456789012:user/User${String(i % 500)}`
      const record = {
        ...{ ...sample, at: START + i * STEP_MS },
        metadata: {
          ...{ kmsOperation: 'Decrypt', kmsRequestId: id, awsPrincipalArn: principal },
          kmsKeyArn: sample.metadata?.kmsKeyArn ?? '',
        },
      }
      const times = kind === 'not-in-log' ? 0 : kind === 'repeated' ? 3 : 1
      for (let n = 0; n < times; n++) {
        entries.push(Buffer.from(encodeRequest(record, { seq: seq++, lost: 0 })))
      }
      if (kind === 'not-in-cloudtrail') continue
      lines.push(
        JSON.stringify({
          ...{ eventVersion: '1.08', eventSource: 'kms.amazonaws.com', eventName: 'Decrypt' },
          ...{ awsRegion: 'us-east-1', sourceIPAddress: 'AWS Internal', requestID: id },
          userIdentity: {
            ...{ type: 'IAMUser', accountId: '123456789012' },
            arn: kind === 'principal-differs' ? `${principal}x` : principal,
          },
          eventTime: `${new Date(record.at).toISOString().slice(0, 19)}Z`,
          requestParameters: { encryptionAlgorithm: 'SYMMETRIC_DEFAULT' },
          resources: [{ type: 'AWS::KMS::Key', ARN: record.metadata.kmsKeyArn }],
        }),
      )
    }
    files.append(entries)
    await files.publish()
    writeSync(fd, `${lines.join('\n')}\n`)
  }
  closeSync(fd)
  await closeLogFolder(folder)
}

void t.test('exactly the differences are found, in bounded memory', async (t) => {
  const folder = process.env['FOLDER'] ?? (await temporaryFolder(t))
  const trail = join(folder, 'events.jsonl')
  const isComplete = join(folder, `complete-${String(RECORDS)}`)
  await mkdir(folder, { recursive: true })
  if (!existsSync(isComplete)) {
    await write(folder, trail)
    writeFileSync(isComplete, '')
  }
  const words = ['audit', 'reconcile', '--cloudtrail', trail, '--folder', join(folder, 'log')]
  const before = performance.now()
  const running = startLatchkey(t, [...words, '--public-key', certifier.publicKey, '--json'])
  let peakKb = 0
  const watching = setInterval(() => {
    try {
      const status = readFileSync(`/proc/${String(running.process.pid)}/status`, 'utf8')
      peakKb = Math.max(peakKb, Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0))
    } catch {
      // The process has ended.
    }
  }, 100)
  const { stdout, stderr } = await running.ended()
  clearInterval(watching)
  const seconds = Math.round((performance.now() - before) / 1000)
  t.comment(
    `${String(2 * RECORDS)} lines, ${String(seconds)} s, ${String(Math.round(peakKb / 1024))} MB`,
  )
  t.match(stderr, /differences found/)
  const { findings } = JSON.parse(stdout) as { findings: { kind: string; kmsRequestId: string }[] }
  const expected: string[] = []
  for (let i = 0; i < RECORDS; i++) {
    const kind = kindOf(i)
    if (kind !== undefined) expected.push(`${kind} ${idOf(i)}`)
  }
  t.ok(expected.length > 0)
  t.strictSame(
    findings.map(({ kind, kmsRequestId }) => `${kind} ${kmsRequestId}`).sort(),
    expected.sort(),
  )
  t.ok(peakKb > 0 && peakKb < 600 * 1024, `${String(peakKb)} KB`)
})
