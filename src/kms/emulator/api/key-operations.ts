/** KMS API operations that manage keys, their aliases and their attachments. */
// SPDX-License-Identifier: Apache-2.0
import type { Alias, Aliases } from '../aliases.ts'
import type { Grant, Tag } from '../attachments.ts'
import type { KmsStandIn } from '../emulator.ts'
import type { KmsKey } from '../kms-keys.ts'
import { KmsException } from '../proxy-failure.ts'
import { type Json, type Operation, optional, seconds, text, toPage } from './json.ts'

const keyOf = (kms: KmsStandIn, input: Json, name = 'KeyId') => kms.keys.get(text(input, name))

/** The only name that KMS accepts for a key policy. */
const POLICY_NAME = 'default'

export const KEY_OPERATIONS = {
  CreateKey: async (kms, input, caller) => {
    if (input['Origin'] !== undefined && input['Origin'] !== 'EXTERNAL_KEY_STORE') {
      const message = 'latchkey kms supports only keys in external key stores'
      throw new KmsException('UnsupportedOperationException', message)
    }
    const key = await kms.createKey(caller, {
      customKeyStoreId: text(input, 'CustomKeyStoreId'),
      xksKeyId: text(input, 'XksKeyId'),
      description: optional(input, 'Description') ?? '',
    })
    const policy = optional(input, 'Policy')
    if (policy !== undefined) kms.attachments.setPolicy(key.keyId, policy)
    kms.attachments.tag(key.keyId, tagsOf(input))
    return { KeyMetadata: describeKey(kms, key) }
  },
  DescribeKey: (kms, input) => ({ KeyMetadata: describeKey(kms, keyOf(kms, input)) }),
  ListKeys: (kms, input) =>
    toPage(
      'Keys',
      kms.keys.list().map(({ keyId, arn }) => ({ KeyId: keyId, KeyArn: arn })),
      input,
    ),
  EnableKey: (kms, input) => {
    kms.keys.setEnabled(text(input, 'KeyId'), true)
    return {}
  },
  DisableKey: (kms, input) => {
    kms.keys.setEnabled(text(input, 'KeyId'), false)
    return {}
  },
  UpdateKeyDescription: (kms, input) => {
    kms.keys.setDescription(text(input, 'KeyId'), optional(input, 'Description') ?? '')
    return {}
  },
  ScheduleKeyDeletion: (kms, input) => {
    const days = Number(input['PendingWindowInDays'] ?? 30)
    const { arn, state, deletionAt = 0 } = kms.keys.scheduleDeletion(text(input, 'KeyId'), days)
    return {
      KeyId: arn,
      KeyState: state,
      DeletionDate: seconds(deletionAt),
      PendingWindowInDays: days,
    }
  },
  CancelKeyDeletion: (kms, input) => ({
    KeyId: kms.keys.cancelDeletion(text(input, 'KeyId')).arn,
  }),
  // KMS never rotates keys in custom key stores.
  GetKeyRotationStatus: (kms, input) => ({
    KeyId: keyOf(kms, input).arn,
    KeyRotationEnabled: false,
  }),
  CreateAlias: (kms, input) => {
    kms.aliases.create(text(input, 'AliasName'), keyOf(kms, input, 'TargetKeyId').keyId)
    return {}
  },
  UpdateAlias: (kms, input) => {
    kms.aliases.update(text(input, 'AliasName'), keyOf(kms, input, 'TargetKeyId').keyId)
    return {}
  },
  DeleteAlias: (kms, input) => {
    kms.aliases.delete(text(input, 'AliasName'))
    return {}
  },
  ListAliases: (kms, input) => {
    const wanted = input['KeyId'] === undefined ? undefined : keyOf(kms, input).keyId
    const found = kms.aliases.list().filter((one) => wanted === undefined || one.keyId === wanted)
    return toPage(
      'Aliases',
      found.map((one) => describeAlias(kms.aliases, one)),
      input,
    )
  },
  TagResource: (kms, input) => {
    kms.attachments.tag(keyOf(kms, input).keyId, tagsOf(input))
    return {}
  },
  UntagResource: (kms, input) => {
    kms.attachments.untag(keyOf(kms, input).keyId, (input['TagKeys'] ?? []) as string[])
    return {}
  },
  ListResourceTags: (kms, input) =>
    toPage(
      'Tags',
      kms.attachments.tagsOf(keyOf(kms, input).keyId) as readonly object[] as Json[],
      input,
    ),
  GetKeyPolicy: (kms, input) => {
    const { keyId, arn } = keyOf(kms, input)
    return {
      Policy: kms.attachments.policyOf(keyId) ?? defaultPolicy(arn),
      PolicyName: POLICY_NAME,
    }
  },
  PutKeyPolicy: (kms, input) => {
    kms.attachments.setPolicy(keyOf(kms, input).keyId, text(input, 'Policy'))
    return {}
  },
  ListKeyPolicies: (kms, input) => ({
    PolicyNames: [POLICY_NAME].slice(keyOf(kms, input).keyId === '' ? 1 : 0),
    Truncated: false,
  }),
  CreateGrant: (kms, input) => {
    text(input, 'GranteePrincipal')
    const { id, token } = kms.attachments.grant(keyOf(kms, input).keyId, input)
    return { GrantId: id, GrantToken: token }
  },
  ListGrants: (kms, input) => {
    const { keyId, arn } = keyOf(kms, input)
    const grants = kms.attachments.grantsOf(keyId).map((one) => describeGrant(one, arn))
    return toPage('Grants', grants, input)
  },
  RevokeGrant: (kms, input) => {
    kms.attachments.revoke(keyOf(kms, input).keyId, text(input, 'GrantId'))
    return {}
  },
  RetireGrant: (kms, input) => {
    const token = optional(input, 'GrantToken')
    const keyId = input['KeyId'] === undefined ? undefined : keyOf(kms, input).keyId
    kms.attachments.revoke(keyId, token ?? text(input, 'GrantId'))
    return {}
  },
} as const satisfies Record<string, Operation>

const tagsOf = (input: Json) => (input['Tags'] ?? []) as readonly Tag[]

function describeKey(kms: KmsStandIn, key: KmsKey): Json {
  return {
    AWSAccountId: key.arn.split(':')[4],
    KeyId: key.keyId,
    Arn: key.arn,
    CreationDate: seconds(key.createdAt),
    Enabled: key.state === 'Enabled',
    Description: key.description,
    KeyUsage: 'ENCRYPT_DECRYPT',
    KeyState: kms.keyState(key),
    ...(key.deletionAt !== undefined && { DeletionDate: seconds(key.deletionAt) }),
    Origin: 'EXTERNAL_KEY_STORE',
    CustomKeyStoreId: key.customKeyStoreId,
    KeyManager: 'CUSTOMER',
    KeySpec: 'SYMMETRIC_DEFAULT',
    CustomerMasterKeySpec: 'SYMMETRIC_DEFAULT',
    EncryptionAlgorithms: ['SYMMETRIC_DEFAULT'],
    MultiRegion: false,
    XksKeyConfiguration: { Id: key.xksKeyId },
  }
}

function describeAlias(aliases: Aliases, { name, keyId, createdAt, updatedAt }: Alias): Json {
  return {
    AliasName: name,
    AliasArn: aliases.arnOf(name),
    TargetKeyId: keyId,
    CreationDate: seconds(createdAt),
    LastUpdatedDate: seconds(updatedAt),
  }
}

function describeGrant({ id, createdAt, request }: Grant, arn: string): Json {
  const { Name, Constraints, GranteePrincipal, RetiringPrincipal, Operations } = request
  return {
    ...{ KeyId: arn, GrantId: id, CreationDate: seconds(createdAt) },
    ...{ Name, Constraints, GranteePrincipal, RetiringPrincipal, Operations },
    IssuingAccount: `arn:aws:iam::${arn.split(':')[4] ?? ''}:root`,
  }
}

/** The policy that KMS attaches to a key created without one. */
function defaultPolicy(arn: string): string {
  const [, partition = '', , , account = ''] = arn.split(':')
  const root = `arn:${partition}:iam::${account}:root`
  const statement = {
    ...{ Sid: 'Enable IAM User Permissions', Effect: 'Allow', Principal: { AWS: root } },
    ...{ Action: 'kms:*', Resource: '*' },
  }
  const policy = { Version: '2012-10-17', Id: 'key-default-1', Statement: [statement] }
  return JSON.stringify(policy, undefined, 2)
}
