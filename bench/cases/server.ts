/** A server in the comparison: how to start it, and the cases that it takes part in. */
// SPDX-License-Identifier: Apache-2.0
import type { Case, CertificateKind, Transport } from '../matrix.ts'
import type { SignFor } from '../requests.ts'
import type { Workplace } from '../workplace.ts'

export interface Running {
  readonly port: number
  /** Host to connect to (default: 127.0.0.1). */
  readonly host?: string
  /** Processor time so far in milliseconds; absent where it is unknown. */
  cpuMs?(): number
  stop(): Promise<void>
}

export interface BenchServer {
  readonly name: string
  readonly cases: readonly Case[]
  /** Called before anything is started, to install packages and make keys. */
  prepare?(workplace: Workplace): Promise<void>
  start(workplace: Workplace, certificate: CertificateKind, transport: Transport): Promise<Running>
  /** Credential and key to use (default: the demo's). */
  signer?(workplace: Workplace): Promise<SignFor>
  /** Certificates to trust (default: the workplace's). */
  readonly caFile?: string
}
