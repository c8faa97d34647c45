/**
 * Repeatedly kills a server with `audit.mode: strict` while it decrypts, and compares its logs with the plaintexts that
 * were returned.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomInt } from 'node:crypto'
import { join } from 'node:path'
import type { Test } from 'tap'
import { openAdministration } from '../../src/app/administration.ts'
import { CONTROL_LOG, listLogs } from '../../src/audit/writer/log-folder.ts'
import { verifyLog } from '../../src/audit/reader/verify-log.ts'
import { loadConfig } from '../../src/config/load.ts'
import { createKmsSideClient } from '../../src/kms/client/client.ts'
import { publicKeyOf, readPlainly } from './audit.ts'
import { startLatchkey, workspace } from './cli.ts'
import { PATIENT_CONTROL, keyId, REGION } from './server.ts'
import { keyStoreName } from './store.ts'
import { decryptBody, encryptBody, requestMetadata } from './wire.ts'

const AT_ONCE = 16

export interface Storm {
  /** Number of times that the server is started. */
  readonly lives: number
  /** Minimum number of plaintexts to receive from the server after each start. */
  readonly decryptsOfALife: number
  /** Number of requests in flight (default: 16). */
  readonly atOnce?: number
  /** Called at the end for each log, with the log's folder and size. */
  readonly check?: (folder: string, size: number) => Promise<void>
}

export interface StormResult {
  /** Request ids of the plaintexts received by the client. */
  readonly received: ReadonlySet<string>
  /** Request ids of the Decrypt requests that the logs record as allowed. */
  readonly recorded: ReadonlySet<string>
  readonly logs: number
  readonly recovered: number
  /** Decrypts per second while the server was alive. */
  readonly rate: number
}

/** @throws if our verifier or the reference algorithm rejects a log */
export async function auditStorm(
  t: Test,
  { lives, decryptsOfALife, atOnce = AT_ONCE, check }: Storm,
): Promise<StormResult> {
  const place = await workspace(t, {
    settings: { audit: { mode: 'strict' }, control: PATIENT_CONTROL },
  })
  const config = await loadConfig(place.configFile, {})
  const administration = await openAdministration(config)
  const keys = administration.keys(keyStoreName('demo'))
  await keys.createKey({ keyId: keyId('payroll'), canEncrypt: true, canDecrypt: true })
  const credential = await administration.credentials.create(keyStoreName('demo'))
  await administration.close()
  const received = new Set<string>()
  let busyMs = 0

  for (let life = 1; life <= lives; life++) {
    const running = startLatchkey(t, ['serve'], { cwd: place.folder })
    const [line] = await running.shows(/^.*"listening".*$/m)
    const client = createKmsSideClient({
      endpoint: `https://localhost:${String((JSON.parse(line) as { port: number }).port)}`,
      uriPath: '/demo/kms/xks/v1',
      ...{ accessKeyId: credential.accessKeyId, secretAccessKey: credential.secretAccessKey },
      ...{ region: REGION, caFile: place.caFile, timeoutMs: 20_000 },
    })
    const sealed = await client.post('/keys/payroll/encrypt', JSON.stringify(encryptBody()))
    const sample = decryptBody(sealed.body as Record<string, unknown>)
    const enough = received.size + decryptsOfALife + randomInt(decryptsOfALife)
    let isDying = false
    const work = async (worker: number) => {
      for (let i = 0; !isDying; i++) {
        const kmsRequestId = [life, worker, i].join('-')
        const body = { ...sample, requestMetadata: requestMetadata('Decrypt', { kmsRequestId }) }
        const answer = await client
          .post('/keys/payroll/decrypt', JSON.stringify(body))
          .catch(() => undefined)
        if (answer?.status === 200) received.add(kmsRequestId)
        if (received.size >= enough) isDying = true
      }
    }
    const begun = performance.now()
    const workers = Array.from({ length: atOnce }, (_, worker) => work(worker))
    await Promise.race(workers)
    busyMs += performance.now() - begun
    // One client loop has ended. End the server while the other loops are in the middle of a request.
    await running.ended(life === lives ? 'SIGTERM' : 'SIGKILL')
    await Promise.all(workers)
    await client.close()
  }

  const publicKey = await publicKeyOf(config)
  const recorded = new Set<string>()
  let recovered = 0
  const logs = await listLogs(config.audit.folder)
  for (const name of logs) {
    const folder = join(config.audit.folder, name)
    const report = await verifyLog(folder, { publicKey })
    t.same(report.problems, [], `${name}: ${String(report.size)} entries`)
    t.equal(report.isOpen, false, name)
    await check?.(folder, report.size)
    for (const entry of readPlainly(folder)) {
      if (entry['kind'] === 'recovered') recovered += 1
      if (entry['operation'] === 'Decrypt' && entry['outcome'] === 'allowed')
        recorded.add(String(entry['kmsRequestId']))
    }
  }
  return {
    ...{ received, recorded, recovered, rate: (received.size * 1000) / busyMs },
    logs: logs.filter((name) => name !== CONTROL_LOG).length,
  }
}
