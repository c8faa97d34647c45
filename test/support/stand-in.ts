/** Creates our KMS emulator, configured to reach a test proxy. */
// SPDX-License-Identifier: Apache-2.0
import type { Test } from 'tap'
import { systemClock } from '../../src/core/clock.ts'
import { Secret } from '../../src/core/secret.ts'
import type { ProxyConfiguration } from '../../src/kms/emulator/custom-key-store.ts'
import {
  createKmsStandIn,
  type KmsStandIn,
  type KmsStandInOptions,
} from '../../src/kms/emulator/emulator.ts'
import type { CallReport } from '../../src/kms/emulator/proxy-connection.ts'

export const ALICE = { principalArn: 'arn:aws:iam::111122223333:user/Alice' }
export const MALLORY = { principalArn: 'arn:aws:iam::999999999999:user/Mallory' }

export function standIn(
  t: Test,
  target: { readonly port: number; readonly caFile: string },
  options: Partial<KmsStandInOptions> = {},
): { readonly kms: KmsStandIn; readonly reports: CallReport[] } {
  const reports: CallReport[] = []
  const kms = createKmsStandIn({
    clock: systemClock,
    region: 'us-east-1',
    accountId: '111122223333',
    timeoutMs: 10_000,
    reach: () => ({
      connectTo: { host: '127.0.0.1', port: target.port },
      caFile: target.caFile,
    }),
    onCall: (report) => reports.push(report),
    ...options,
  })
  t.teardown(() => kms.close())
  return { kms, reports }
}

export const PROXY: ProxyConfiguration = {
  connectivity: 'PUBLIC_ENDPOINT',
  uriEndpoint: 'https://localhost',
  uriPath: '/demo/kms/xks/v1',
  accessKeyId: 'ABCDEFGHIJKLMNOPQRST',
  rawSecretAccessKey: new Secret('A'.repeat(43)),
}

/** Creates and connects a key store, and returns its id. */
export async function connect(kms: KmsStandIn, proxy = PROXY): Promise<string> {
  const { id } = await kms.stores.create({ name: 'store', proxy })
  kms.stores.connect(id)
  const { state, errorCode } = await kms.stores.settled(id)
  if (state !== 'CONNECTED') throw new Error(`${state}: ${String(errorCode)}`)
  return id
}
