/** A server of the comparison: how it is started, and which cases it takes part in. */
// SPDX-License-Identifier: Apache-2.0
import type { Case, CertificateKind, Transport } from '../matrix.ts'
import type { SignFor } from '../requests.ts'
import type { Workplace } from '../workplace.ts'

export interface Running {
  readonly port: number
  /** Absent: 127.0.0.1 */
  readonly host?: string
  /** Processor time so far, in milliseconds; absent where it cannot be known. */
  cpuMs?(): number
  stop(): Promise<void>
}

export interface BenchServer {
  readonly name: string
  readonly cases: readonly Case[]
  /** Before anything is started: installs, makes keys. */
  prepare?(workplace: Workplace): Promise<void>
  start(workplace: Workplace, certificate: CertificateKind, transport: Transport): Promise<Running>
  /** Absent: the demo's credential and key. */
  signer?(workplace: Workplace): Promise<SignFor>
  /** Absent: the workplace's. */
  readonly caFile?: string
}
