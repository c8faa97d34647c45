/**
 * Simulates applications in several accounts until stopped, so that the console and the reports
 * show a live system.
 */
// SPDX-License-Identifier: Apache-2.0
import { systemClock as clock } from '../../core/clock.ts'
import { pause } from '../../core/deadline.ts'
import type { ProxyConfiguration } from '../../kms/emulator/custom-key-store.ts'
import type { KmsStandIn } from '../../kms/emulator/emulator.ts'
import { KmsException } from '../../kms/emulator/proxy-failure.ts'
import type { KmsCaller } from '../../kms/emulator/request-metadata.ts'

export interface LiveOptions {
  readonly kms: KmsStandIn
  readonly proxy: ProxyConfiguration
  readonly xksKeyId: string
  /** Called when KMS starts or stops refusing an application's requests. */
  readonly onChange: (line: string) => void
  /** Stops all applications when aborted. */
  readonly signal: AbortSignal
}

interface Application {
  readonly name: string
  readonly caller: KmsCaller
  /** Pause between two rounds, in milliseconds. */
  readonly pauseMs: number
  /**
   * Does one round of work.
   * @throws KmsException
   */
  work(kms: KmsStandIn, keyArn: string, caller: KmsCaller): Promise<void>
}

const OWNER = { principalArn: 'arn:aws:iam::111122223333:role/KeyStoreAdministrator' }
const MESSAGE = Buffer.from('a line from the payroll')

/** Generates a data key and then decrypts it again, as services do for each object. */
async function useDataKey(kms: KmsStandIn, keyId: string, caller: KmsCaller): Promise<void> {
  const encryptionContext = { tenant: 'northwind' }
  const { ciphertextBlob } = await kms.generateDataKey(caller, { keyId, encryptionContext })
  await kms.decrypt(caller, { ciphertextBlob, encryptionContext })
}

const APPLICATIONS: readonly Application[] = [
  {
    name: 'documents (S3)',
    caller: {
      principalArn: 'arn:aws:sts::444455556666:assumed-role/DocumentService/vendor',
      viaService: 's3',
    },
    pauseMs: 400,
    work: useDataKey,
  },
  {
    name: 'orders (DynamoDB)',
    caller: { principalArn: 'arn:aws:iam::111122223333:role/Orders', viaService: 'dynamodb' },
    pauseMs: 900,
    work: useDataKey,
  },
  {
    name: 'payroll',
    caller: { principalArn: 'arn:aws:iam::111122223333:role/Payroll' },
    pauseMs: 1300,
    async work(kms, keyId, caller) {
      const { ciphertextBlob } = await kms.encrypt(caller, { keyId, plaintext: MESSAGE })
      await kms.decrypt(caller, { ciphertextBlob })
    },
  },
]

/** Names of the applications, for display. */
export const APPLICATION_NAMES: readonly string[] = APPLICATIONS.map(({ name }) => name)

/**
 * Registers the key store and a KMS key, and simulates all applications until the signal is
 * aborted.
 * @throws KmsException when the proxy cannot be registered
 */
export async function playApplications(options: LiveOptions): Promise<void> {
  const { kms, proxy, xksKeyId, signal } = options
  const store = await kms.stores.create({ name: 'northwind-live', proxy })
  kms.stores.connect(store.id)
  await kms.stores.settled(store.id)
  const { arn } = await kms.createKey(OWNER, { customKeyStoreId: store.id, xksKeyId })
  await Promise.all(APPLICATIONS.map((application) => play(application, arn, options)))

  async function play(
    { name, caller, pauseMs, work }: Application,
    keyArn: string,
    { onChange }: LiveOptions,
  ): Promise<void> {
    let refusedWith: string | undefined
    while (!signal.aborted) {
      const outcome = await work(kms, keyArn, caller).then(() => undefined, toCode)
      if (outcome !== refusedWith) {
        const time = new Date(clock.now()).toISOString().slice(11, 19)
        onChange(
          `${time}  ${name}: ${outcome === undefined ? 'works again' : `refused, ${outcome}`}`,
        )
      }
      refusedWith = outcome
      await pause(pauseMs)
    }
  }
}

function toCode(error: unknown): string {
  if (error instanceof KmsException) return error.code
  throw error
}
