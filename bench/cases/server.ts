/** Describes a server in the comparison: how to start it, and the cases in which it takes part. */
// SPDX-License-Identifier: Apache-2.0
import type { Case, CertificateKind, Transport } from '../matrix.ts'
import type { SignFor } from '../requests.ts'
import type { Workplace } from '../workplace.ts'

export interface Running {
  readonly port: number
  /** Host to connect to (default: 127.0.0.1). */
  readonly host?: string
  /** Returns the processor time used so far in milliseconds; absent if unknown. */
  cpuMs?(): number
  stop(): Promise<void>
}

export interface BenchServer {
  readonly name: string
  readonly cases: readonly Case[]
  /** Installs packages and creates keys. Called before any server is started. */
  prepare?(workplace: Workplace): Promise<void>
  start(workplace: Workplace, certificate: CertificateKind, transport: Transport): Promise<Running>
  /** Credential and key to use (default: the demo's). */
  signer?(workplace: Workplace): Promise<SignFor>
  /** Certificates to trust (default: those of the benchmark's own proxy). */
  readonly caFile?: string
}
