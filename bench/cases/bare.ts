/** The baseline for any Node.js server: node:https and node:http2 with a fixed body. */
// SPDX-License-Identifier: Apache-2.0
import { casesOf } from '../matrix.ts'
import { startServerProcess } from '../servers.ts'
import type { BenchServer } from './server.ts'

export const bare: BenchServer = {
  name: 'bare',
  cases: casesOf('bare', 'fixed'),
  start(workplace, certificate, transport) {
    const { certificateFile, privateKeyFile } = workplace.certificate(certificate)
    const script = transport === 'h2' ? 'bare-http2-server' : 'bare-server'
    return startServerProcess(script, [certificateFile, privateKeyFile])
  },
}
