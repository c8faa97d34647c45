/**
 * Serves our KMS emulator on loopback for the real AWS SDK. Failures have real causes, such as a wrong secret, a proxy
 * that is down, or a different CA.
 */
// SPDX-License-Identifier: Apache-2.0
import {
  ConnectCustomKeyStoreCommand,
  CreateCustomKeyStoreCommand,
  type KMSClient,
} from '@aws-sdk/client-kms'
import type { Test } from 'tap'
import { type Clock, systemClock } from '../../src/core/clock.ts'
import { Secret } from '../../src/core/secret.ts'
import type { Json } from '../../src/kms/emulator/api/json.ts'
import { type KmsApiOptions, createKmsApi } from '../../src/kms/emulator/api/server.ts'
import {
  type KmsStandIn,
  type KmsStandInOptions,
  createKmsStandIn,
} from '../../src/kms/emulator/emulator.ts'
import { KmsException, type KmsExceptionName } from '../../src/kms/emulator/proxy-failure.ts'
import type { TestServer } from './server.ts'

/** AWS's documented example credential, which works only with this server. */
export const AWS_CREDENTIAL = {
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
}
const REGION = 'us-east-1'
const ACCOUNT = '111122223333'

/** Generous, because the machine may be busy; other tests cover KMS's real timeout. */
const PATIENT_TIMEOUT_MS = 60_000
/** A small page size, so that pagination is tested. */
const PAGE = 3

export interface KmsServer {
  /** Value for AWS_ENDPOINT_URL_KMS. */
  readonly url: string
  readonly kms: KmsStandIn
  /** Names of the operations called, in order. */
  readonly calls: string[]
  /** Request bodies of the calls in `calls`, in the same order. */
  readonly bodies: Json[]
  /** Makes the next call to an operation fail with this exception. */
  failNext(operation: string, exception: string): void
  /** Environment for running the program as a process. */
  readonly environment: Record<string, string>
}

export interface KmsServerOptions extends Partial<KmsStandInOptions> {
  readonly clock?: Clock
  readonly api?: Partial<KmsApiOptions>
}

export async function startKmsServer(t: Test, options: KmsServerOptions): Promise<KmsServer> {
  const kms = createKmsStandIn({
    clock: systemClock,
    region: REGION,
    accountId: ACCOUNT,
    timeoutMs: PATIENT_TIMEOUT_MS,
    ...options,
  })
  const calls: string[] = []
  const bodies: Json[] = []
  const failures = new Map<string, string>()
  const api = createKmsApi({
    ...{ kms, clock: systemClock, region: REGION, accountId: ACCOUNT, pageSize: PAGE },
    credentials: [
      {
        accessKeyId: AWS_CREDENTIAL.accessKeyId,
        secretAccessKey: new Secret(AWS_CREDENTIAL.secretAccessKey),
        principalArn: `arn:aws:iam::${ACCOUNT}:role/KeyStoreAdministrator`,
      },
    ],
    onCall(operation, input) {
      calls.push(operation)
      bodies.push(input)
      const failure = failures.get(operation)
      failures.delete(operation)
      if (failure === undefined) return
      throw new KmsException(failure as KmsExceptionName, 'as the test wants it')
    },
    ...options.api,
  })
  const port = await api.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(() => api.close())
  const url = `http://127.0.0.1:${String(port)}`
  return {
    url,
    kms,
    calls,
    bodies,
    failNext(operation, exception) {
      failures.set(operation, exception)
    },
    environment: {
      AWS_ENDPOINT_URL_KMS: url,
      AWS_REGION: REGION,
      AWS_ACCESS_KEY_ID: AWS_CREDENTIAL.accessKeyId,
      AWS_SECRET_ACCESS_KEY: AWS_CREDENTIAL.secretAccessKey,
      AWS_EC2_METADATA_DISABLED: 'true',
    },
  }
}

/** Creates and connects a custom key store for the proxy under test, as an administrator would. */
export async function connectStore(
  client: KMSClient,
  kms: KmsStandIn,
  { uriPath, credential }: Pick<TestServer, 'uriPath' | 'credential'>,
): Promise<string> {
  const { CustomKeyStoreId = '' } = await client.send(
    new CreateCustomKeyStoreCommand({
      CustomKeyStoreName: 'store',
      CustomKeyStoreType: 'EXTERNAL_KEY_STORE',
      XksProxyConnectivity: 'PUBLIC_ENDPOINT',
      XksProxyUriEndpoint: 'https://localhost',
      XksProxyUriPath: uriPath,
      XksProxyAuthenticationCredential: {
        AccessKeyId: credential.accessKeyId,
        RawSecretAccessKey: credential.secretAccessKey.reveal(),
      },
    }),
  )
  await client.send(new ConnectCustomKeyStoreCommand({ CustomKeyStoreId }))
  await kms.stores.settled(CustomKeyStoreId)
  return CustomKeyStoreId
}
