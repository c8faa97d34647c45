/** Tests the API of `latchkey kms`, running in front of the real proxy, with the real AWS SDK. */
// SPDX-License-Identifier: Apache-2.0
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  CancelKeyDeletionCommand,
  CreateAliasCommand,
  CreateGrantCommand,
  CreateKeyCommand,
  DecryptCommand,
  DeleteAliasCommand,
  DescribeKeyCommand,
  DisableKeyCommand,
  EnableKeyCommand,
  EncryptCommand,
  GenerateDataKeyCommand,
  GenerateRandomCommand,
  GetKeyPolicyCommand,
  GetKeyRotationStatusCommand,
  KMSClient,
  ListAliasesCommand,
  ListGrantsCommand,
  ListResourceTagsCommand,
  PutKeyPolicyCommand,
  ReEncryptCommand,
  RevokeGrantCommand,
  ScheduleKeyDeletionCommand,
  TagResourceCommand,
  UntagResourceCommand,
  UpdateAliasCommand,
} from '@aws-sdk/client-kms'
import t, { type Test } from 'tap'
import { openCloudTrail } from '../../src/kms/emulator/api/cloudtrail.ts'
import type { KmsApiOptions } from '../../src/kms/emulator/api/server.ts'
import { loadKmsState } from '../../src/kms/emulator/state.ts'
import { AWS_CREDENTIAL, connectStore, startKmsServer } from '../support/kms-server.ts'
import { KEY_ID, startTestServer, type TestServer } from '../support/server.ts'

/** The long deadline keeps a busy machine from causing refusals; other tests cover refusals. */
const PATIENT = { limits: { requestDeadline: '20s' } }
const IDENTITY = { region: 'us-east-1', accountId: '111122223333' }

async function startKms(
  t: Test,
  server: TestServer,
  api: Partial<KmsApiOptions> = {},
  initial?: Awaited<ReturnType<typeof loadKmsState>>,
) {
  const { url, kms } = await startKmsServer(t, {
    api,
    reach: () => ({
      connectTo: { host: '127.0.0.1', port: server.port },
      caFile: server.pki.caFile,
    }),
    ...(initial && { initial }),
  })
  const client = new KMSClient({
    ...{ region: 'us-east-1', endpoint: url, credentials: AWS_CREDENTIAL, maxAttempts: 1 },
  })
  t.teardown(() => {
    client.destroy()
  })
  return { client, kms }
}

async function setUp(t: Test, api: Partial<KmsApiOptions> = {}) {
  const server = await startTestServer(t, { config: PATIENT })
  const { client, kms } = await startKms(t, server, api)
  const CustomKeyStoreId = await connectStore(client, kms, server)
  const { KeyMetadata: key } = await client.send(
    new CreateKeyCommand({
      ...{ Origin: 'EXTERNAL_KEY_STORE', CustomKeyStoreId, XksKeyId: KEY_ID },
      Tags: [{ TagKey: 'team', TagValue: 'payroll' }],
    }),
  )
  return { server, client, kms, KeyId: key?.KeyId ?? '', arn: key?.Arn ?? '' }
}

async function folderOf(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'latchkey-kms-'))
  t.teardown(() => rm(folder, { recursive: true }))
  return folder
}

void t.test('an alias refers to its key in every operation until it is deleted', async (t) => {
  const { client, KeyId, arn } = await setUp(t)
  const AliasName = 'alias/payroll'
  await client.send(new CreateAliasCommand({ AliasName, TargetKeyId: KeyId }))
  const again = client.send(new CreateAliasCommand({ AliasName, TargetKeyId: KeyId }))
  await t.rejects(again, {
    name: 'AlreadyExistsException',
    message: /alias\/payroll already exists/,
  })
  const sealed = await client.send(
    new EncryptCommand({ KeyId: AliasName, Plaintext: Buffer.from('x') }),
  )
  t.equal(sealed.KeyId, arn)
  const { Aliases = [] } = await client.send(new ListAliasesCommand({ KeyId }))
  t.match(Aliases, [{ AliasName, TargetKeyId: KeyId, CreationDate: Date }])
  const byArn = await client.send(new DescribeKeyCommand({ KeyId: Aliases[0]?.AliasArn }))
  t.equal(byArn.KeyMetadata?.Arn, arn)
  await client.send(new UpdateAliasCommand({ AliasName, TargetKeyId: arn }))
  await client.send(new DeleteAliasCommand({ AliasName }))
  await t.rejects(client.send(new DescribeKeyCommand({ KeyId: AliasName })), {
    name: 'NotFoundException',
    message: 'Alias arn:aws:kms:us-east-1:111122223333:alias/payroll is not found.',
  })
  const aws = client.send(new CreateAliasCommand({ AliasName: 'alias/aws/s3', TargetKeyId: KeyId }))
  await t.rejects(aws, { name: 'InvalidAliasNameException' })
})

void t.test("errors have KMS's names and messages", async (t) => {
  const { client, KeyId, arn } = await setUp(t)
  const encrypt = (more: object = {}) =>
    client.send(new EncryptCommand({ KeyId, Plaintext: Buffer.from('x'), ...more }))
  await client.send(new DisableKeyCommand({ KeyId }))
  await t.rejects(encrypt(), { name: 'DisabledException', message: `${arn} is disabled.` })
  await client.send(new EnableKeyCommand({ KeyId }))
  const { CiphertextBlob } = await encrypt()
  await client.send(new ScheduleKeyDeletionCommand({ KeyId, PendingWindowInDays: 7 }))
  await t.rejects(encrypt(), {
    name: 'KMSInvalidStateException',
    message: `${arn} is pending deletion.`,
  })
  await client.send(new CancelKeyDeletionCommand({ KeyId }))
  await t.rejects(client.send(new CancelKeyDeletionCommand({ KeyId })), {
    name: 'KMSInvalidStateException',
  })
  await client.send(new EnableKeyCommand({ KeyId }))
  const other = '00000000-0000-4000-8000-000000000000'
  await t.rejects(encrypt({ KeyId: other }), {
    name: 'NotFoundException',
    message: `Key 'arn:aws:kms:us-east-1:111122223333:key/${other}' does not exist`,
  })
  await t.rejects(encrypt({ KeyId: 'nonsense' }), { message: "Invalid keyId 'nonsense'" })
  await t.rejects(client.send(new GenerateDataKeyCommand({ KeyId })), {
    name: 'ValidationException',
    message: 'Please specify either number of bytes or key spec.',
  })
  await t.rejects(client.send(new CreateKeyCommand({})), { name: 'ValidationException' })
  const changed = Buffer.from(CiphertextBlob ?? [])
  changed[40] = (changed[40] ?? 0) ^ 1
  await t.rejects(client.send(new DecryptCommand({ CiphertextBlob: changed })))
})

void t.test('DryRun checks a call without executing it', async (t) => {
  const { client, server, KeyId } = await setUp(t)
  const dry = { KeyId, DryRun: true }
  const name = 'DryRunOperationException'
  await t.rejects(client.send(new EncryptCommand({ ...dry, Plaintext: Buffer.from('x') })), {
    name,
  })
  await t.rejects(client.send(new GenerateDataKeyCommand({ ...dry, KeySpec: 'AES_256' })), { name })
  await client.send(new DisableKeyCommand({ KeyId }))
  await t.rejects(client.send(new EncryptCommand({ ...dry, Plaintext: Buffer.from('x') })), {
    name: 'DisabledException',
  })
  const operations = (await server.stopAndReadLog()).map((line) => line['operation'])
  t.notOk(operations.includes('Encrypt'), 'the proxy was not asked')
})

void t.test('tags, key policies and grants are stored and returned', async (t) => {
  const { client, KeyId, arn } = await setUp(t)
  const tag = (TagKey: string, TagValue: string) => ({ TagKey, TagValue })
  await client.send(new TagResourceCommand({ KeyId, Tags: [tag('a', '1'), tag('team', 'hr')] }))
  await client.send(new UntagResourceCommand({ KeyId, TagKeys: ['a'] }))
  const { Tags } = await client.send(new ListResourceTagsCommand({ KeyId }))
  t.same(Tags, [tag('team', 'hr')])
  const twice = client.send(new TagResourceCommand({ KeyId, Tags: [tag('a', '1'), tag('a', '2')] }))
  await t.rejects(twice, { name: 'TagException' })
  const first = await client.send(new GetKeyPolicyCommand({ KeyId }))
  t.match(JSON.parse(first.Policy ?? ''), { Statement: [{ Action: 'kms:*' }] })
  const Policy = '{"Version":"2012-10-17","Statement":[]}'
  await client.send(new PutKeyPolicyCommand({ KeyId, Policy }))
  t.equal((await client.send(new GetKeyPolicyCommand({ KeyId }))).Policy, Policy)
  await t.rejects(client.send(new PutKeyPolicyCommand({ KeyId, Policy: 'x' })), {
    name: 'MalformedPolicyDocumentException',
  })
  const GranteePrincipal = 'arn:aws:iam::111122223333:role/Vendor'
  const grant = new CreateGrantCommand({ KeyId, GranteePrincipal, Operations: ['Decrypt'] })
  const { GrantId } = await client.send(grant)
  const { Grants } = await client.send(new ListGrantsCommand({ KeyId }))
  t.match(Grants, [{ GrantId, KeyId: arn, GranteePrincipal, Operations: ['Decrypt'] }])
  await client.send(new RevokeGrantCommand({ KeyId, GrantId }))
  t.same((await client.send(new ListGrantsCommand({ KeyId }))).Grants, [])
  const rotation = await client.send(new GetKeyRotationStatusCommand({ KeyId }))
  t.equal(rotation.KeyRotationEnabled, false)
  const random = await client.send(new GenerateRandomCommand({ NumberOfBytes: 24 }))
  t.equal(random.Plaintext?.length, 24)
})

void t.test('a restart with the state file continues with the same keys', async (t) => {
  const stateFile = join(await folderOf(t), 'kms.json')
  const { client, server, KeyId } = await setUp(t, { stateFile })
  const AliasName = 'alias/payroll'
  await client.send(new CreateAliasCommand({ AliasName, TargetKeyId: KeyId }))
  const sealed = await client.send(
    new EncryptCommand({ KeyId: AliasName, Plaintext: Buffer.from('salaries') }),
  )
  t.equal((await stat(stateFile)).mode & 0o777, 0o600)
  const { client: later } = await startKms(t, server, {}, await loadKmsState(stateFile, IDENTITY))
  const { CiphertextBlob } = sealed
  const opened = await later.send(new DecryptCommand({ CiphertextBlob, KeyId: AliasName }))
  t.equal(Buffer.from(opened.Plaintext ?? []).toString(), 'salaries')
  const { Tags } = await later.send(new ListResourceTagsCommand({ KeyId: AliasName }))
  t.match(Tags, [{ TagKey: 'team' }])
  await t.rejects(loadKmsState(stateFile, { ...IDENTITY, region: 'eu-west-1' }), {
    code: 'KMS_STATE_OF_ANOTHER',
  })
})

void t.test('beyond the quota, cryptographic operations are throttled as in KMS', async (t) => {
  const { client, KeyId } = await setUp(t, { requestsPerSecond: 2 })
  const encrypt = () => client.send(new EncryptCommand({ KeyId, Plaintext: Buffer.from('x') }))
  const ended = await Promise.allSettled(Array.from({ length: 8 }, encrypt))
  const refused = ended.filter((one) => one.status === 'rejected')
  t.ok(refused.length >= 4)
  for (const { reason } of refused) {
    t.match(reason, {
      name: 'ThrottlingException',
      message: /exceeded the rate at which you may/,
    })
  }
  await client.send(new DescribeKeyCommand({ KeyId }))
  t.pass('other operations have a quota of their own')
})

void t.test(
  'CloudTrail records each call under the id that the proxy sees, without secrets',
  async (t) => {
    const cloudTrailFile = join(await folderOf(t), 'trail.json')
    const { client, server, KeyId, arn } = await setUp(t, {
      cloudTrail: await openCloudTrail(cloudTrailFile),
    })
    const EncryptionContext = { tenant: 'northwind' }
    const sealed = await client.send(
      new EncryptCommand({ KeyId, Plaintext: Buffer.from('salaries'), EncryptionContext }),
    )
    await client.send(
      new ReEncryptCommand({
        ...{ CiphertextBlob: sealed.CiphertextBlob, SourceEncryptionContext: EncryptionContext },
        DestinationKeyId: KeyId,
      }),
    )
    await t.rejects(client.send(new DecryptCommand({ CiphertextBlob: Buffer.from('no blob') })))
    const text = await readFile(cloudTrailFile, 'utf8')
    t.notMatch(text, Buffer.from('salaries').toString('base64'))
    t.notMatch(text, server.credential.secretAccessKey.reveal())
    const records = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
    const find = (name: string) => records.find(({ eventName }) => eventName === name)
    t.match(find('Encrypt'), {
      eventSource: 'kms.amazonaws.com',
      userIdentity: { accountId: '111122223333' },
      requestParameters: { keyId: KeyId, encryptionContext: EncryptionContext },
      resources: [{ ARN: arn, type: 'AWS::KMS::Key' }],
      readOnly: true,
    })
    t.match(find('Decrypt'), { errorCode: 'InvalidCiphertextException' })
    const seen = (await server.stopAndReadLog()).map((line) => line['kmsRequestId'])
    t.equal(seen.filter((id) => id === find('Encrypt')?.['requestID']).length, 1)
    t.equal(seen.filter((id) => id === find('ReEncrypt')?.['requestID']).length, 2, 'two requests')
  },
)
