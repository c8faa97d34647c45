/** Tests, with the real AWS SDK, that our KMS emulator speaks KMS's protocol and really calls the proxy. */
// SPDX-License-Identifier: Apache-2.0
import {
  CreateKeyCommand,
  DecryptCommand,
  DeleteCustomKeyStoreCommand,
  DescribeCustomKeyStoresCommand,
  DescribeKeyCommand,
  DisconnectCustomKeyStoreCommand,
  EncryptCommand,
  GenerateDataKeyCommand,
  GenerateDataKeyWithoutPlaintextCommand,
  KMSClient,
  ReEncryptCommand,
  ScheduleKeyDeletionCommand,
} from '@aws-sdk/client-kms'
import t, { type Test } from 'tap'
import { KEY_ID, startTestServer } from '../support/server.ts'
import { AWS_CREDENTIAL, connectStore, startKmsServer } from '../support/kms-server.ts'

/** The long deadline keeps a busy machine from causing refusals; other tests cover refusals. */
const PATIENT = { limits: { requestDeadline: '20s' } }

async function setUp(t: Test) {
  const server = await startTestServer(t, { config: PATIENT })
  const server2 = await startKmsServer(t, {
    reach: () => ({
      connectTo: { host: '127.0.0.1', port: server.port },
      caFile: server.pki.caFile,
    }),
  })
  const client = new KMSClient({
    region: 'us-east-1',
    endpoint: server2.url,
    credentials: AWS_CREDENTIAL,
  })
  t.teardown(() => {
    client.destroy()
  })
  const storeId = await connectStore(client, server2.kms, server)
  return { server, client, storeId, kms: server2.kms }
}

void t.test(
  'a key store is created, connected and described, and its key supports all operations',
  async (t) => {
    const { client, storeId } = await setUp(t)
    const described = await client.send(new DescribeCustomKeyStoresCommand({}))
    const [store] = described.CustomKeyStores ?? []
    t.equal(store?.ConnectionState, 'CONNECTED')
    t.type(store?.CreationDate, Date)
    t.equal(store?.XksProxyConfiguration?.UriEndpoint, 'https://localhost')

    const { KeyMetadata: key } = await client.send(
      new CreateKeyCommand({
        Origin: 'EXTERNAL_KEY_STORE',
        CustomKeyStoreId: storeId,
        XksKeyId: KEY_ID,
      }),
    )
    t.equal(key?.XksKeyConfiguration?.Id, KEY_ID)
    const KeyId = key?.KeyId ?? ''
    const EncryptionContext = { tenant: '7', purpose: 'test' }
    const dataKey = await client.send(
      new GenerateDataKeyCommand({ KeyId, KeySpec: 'AES_256', EncryptionContext }),
    )
    t.equal(dataKey.Plaintext?.length, 32)
    const opened = await client.send(
      new DecryptCommand({
        CiphertextBlob: dataKey.CiphertextBlob,
        // The order of the fields must not matter.
        EncryptionContext: { purpose: 'test', tenant: '7' },
      }),
    )
    t.same(opened.Plaintext, dataKey.Plaintext)
    t.equal(opened.KeyId, key?.Arn)

    const largest = Buffer.alloc(4096, 7)
    const encrypted = await client.send(new EncryptCommand({ KeyId, Plaintext: largest }))
    const moved = await client.send(
      new ReEncryptCommand({
        CiphertextBlob: encrypted.CiphertextBlob,
        DestinationKeyId: KeyId,
        DestinationEncryptionContext: EncryptionContext,
      }),
    )
    const back = await client.send(
      new DecryptCommand({ CiphertextBlob: moved.CiphertextBlob, EncryptionContext }),
    )
    t.ok(largest.equals(back.Plaintext ?? Buffer.alloc(0)))
    const withoutPlaintext = await client.send(
      new GenerateDataKeyWithoutPlaintextCommand({ KeyId, NumberOfBytes: 16 }),
    )
    const late = await client.send(
      new DecryptCommand({ CiphertextBlob: withoutPlaintext.CiphertextBlob, KeyId }),
    )
    t.equal(late.Plaintext?.length, 16)
  },
)

void t.test('KMS reports what prevents deleting a store', async (t) => {
  const { client, storeId } = await setUp(t)
  const { KeyMetadata: key } = await client.send(
    new CreateKeyCommand({
      CustomKeyStoreId: storeId,
      XksKeyId: KEY_ID,
      Origin: 'EXTERNAL_KEY_STORE',
    }),
  )
  const remove = () => client.send(new DeleteCustomKeyStoreCommand({ CustomKeyStoreId: storeId }))
  await t.rejects(remove(), { name: 'CustomKeyStoreInvalidStateException' })
  await client.send(new DisconnectCustomKeyStoreCommand({ CustomKeyStoreId: storeId }))
  await t.rejects(remove(), { name: 'CustomKeyStoreHasCMKsException' })
  const unavailable = await client.send(new DescribeKeyCommand({ KeyId: key?.KeyId }))
  t.equal(unavailable.KeyMetadata?.KeyState, 'Unavailable')
  const scheduled = await client.send(
    new ScheduleKeyDeletionCommand({ KeyId: key?.KeyId, PendingWindowInDays: 7 }),
  )
  t.equal(scheduled.KeyState, 'PendingDeletion')
  await t.rejects(remove(), { name: 'CustomKeyStoreHasCMKsException' }, 'for a week more')
})

void t.test('a caller with a wrong signature is refused', async (t) => {
  const { server } = await setUp(t)
  t.ok(server.port)
  const kms = await startKmsServer(t, {})
  const client = new KMSClient({
    region: 'us-east-1',
    endpoint: kms.url,
    credentials: { ...AWS_CREDENTIAL, secretAccessKey: 'another' },
  })
  await t.rejects(client.send(new DescribeCustomKeyStoresCommand({})), {
    name: 'InvalidSignatureException',
  })
  client.destroy()
})
