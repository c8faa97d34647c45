/** Latchkey with software keys, as `latchkey serve` runs it. */
// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path'
import { casesOf } from '../matrix.ts'
import { startLatchkey } from '../servers.ts'
import type { BenchServer } from './server.ts'

export const latchkey: BenchServer = {
  name: 'latchkey',
  cases: casesOf('latchkey', 'proxy'),
  start({ demo, folder, certificate: files }, certificate) {
    const { certificateFile, privateKeyFile } = files(certificate)
    const logFile = join(folder, `latchkey-${certificate}.log`)
    return startLatchkey([...[demo.configFile, logFile, certificateFile, privateKeyFile]])
  },
}
