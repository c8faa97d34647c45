/** Tests that rejected certificate files are retried, because some causes are temporary. */
// SPDX-License-Identifier: Apache-2.0
import { copyFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createCertificateReload, loadForReload } from '../../../src/server/tls/reload.ts'
import { SERVER_CERTIFICATE, testPki } from '../../support/pki.ts'

const pki = await testPki()
const DAY_MS = 86_400_000
const tomorrow = await pki.issue('valid-tomorrow', {
  ...SERVER_CERTIFICATE,
  notBefore: new Date(Date.now() + DAY_MS),
  notAfter: new Date(Date.now() + 3 * DAY_MS),
})

type Put = (from: TlsPair) => Promise<void>

interface TlsPair {
  readonly certificateFile: string
  readonly privateKeyFile: string
}

async function start(t: Test, beforeStart: (put: Put) => Promise<void> = () => Promise.resolve()) {
  const folder = t.testdir()
  const tls = {
    certificateFile: join(folder, 'tls.crt'),
    privateKeyFile: join(folder, 'tls.key'),
  }
  const put = async (from: TlsPair) => {
    await copyFile(from.certificateFile, tls.certificateFile)
    await copyFile(from.privateKeyFile, tls.privateKeyFile)
  }
  await put(pki)
  let now = Date.now()
  const due: (() => void)[] = []
  const subjects: string[] = []
  const failures: string[] = []
  const { fingerprint } = await loadForReload({ tls }, now)
  await beforeStart(put)
  const reload = createCertificateReload({
    ...{ config: { tls }, fingerprint },
    now: () => now,
    apply: ({ certificate }) => subjects.push(certificate.serialNumber),
    onReloaded: () => undefined,
    onFailed: (error) => failures.push((error as { code: string }).code),
    schedule: (run) => {
      due.push(run)
      return () => undefined
    },
  })
  reload.start()
  return {
    ...{ tls, put, subjects, failures },
    sleep: (ms: number) => {
      now += ms
    },
    /** Runs the next check, and resolves once it has finished. */
    async look() {
      due.pop()?.()
      while (due.length === 0) await new Promise((resolve) => setImmediate(resolve))
    },
  }
}

void t.test('a certificate that is not valid yet is loaded once it is', async (t) => {
  const { put, look, sleep, subjects, failures } = await start(t)
  await put(tomorrow)
  await look()
  await look()
  t.same(subjects, [])
  t.same(failures, ['CERTIFICATE_EXPIRED'], 'it is said once')
  sleep(DAY_MS + 60_000)
  await look()
  t.equal(subjects.length, 1)
  await look()
  t.equal(subjects.length, 1, 'files in use are read only when they change')
  t.equal(failures.length, 1)
})

void t.test('a missing file is tried again, and each reason is logged', async (t) => {
  const { tls, put, look, subjects, failures } = await start(t)
  await rm(tls.privateKeyFile)
  await look()
  await copyFile(tomorrow.privateKeyFile, tls.privateKeyFile)
  await look()
  await look()
  t.same(failures, ['CERTIFICATE_UNREADABLE', 'CERTIFICATE_MISMATCH'])
  await put(pki)
  await look()
  t.equal(subjects.length, 1)
})

void t.test('a file that is renewed between loading and the start is loaded', async (t) => {
  const renewed = await pki.issue('renewed-at-start', SERVER_CERTIFICATE)
  const { look, subjects } = await start(t, (put) => put(renewed))
  await look()
  await look()
  t.equal(subjects.length, 1)
})
