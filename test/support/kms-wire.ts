/** Converts KMS's JSON 1.1 to the arguments of our stand-in, and back. */
// SPDX-License-Identifier: Apache-2.0
import type { KmsCaller } from '../../src/kms/emulator/request-metadata.ts'
import type { CustomKeyStore, KeyStoreChange } from '../../src/kms/emulator/custom-key-store.ts'
import { Secret } from '../../src/core/secret.ts'
import type { KmsKey } from '../../src/kms/emulator/kms-keys.ts'
import type { KmsStandIn } from '../../src/kms/emulator/emulator.ts'

export type Json = Readonly<Record<string, unknown>>
type Handler = (kms: KmsStandIn, input: Json, caller: KmsCaller) => Promise<Json> | Json

/** Short pages, so that pagination is tested. */
const PAGE = 3

const text = (input: Json, name: string) => optional(input, name) ?? ''
const optional = (input: Json, name: string) =>
  typeof input[name] === 'string' && input[name] !== '' ? input[name] : undefined
const bytes = (input: Json, name: string) => Buffer.from(text(input, name), 'base64')
const base64 = (value: Buffer) => value.toString('base64')
const seconds = (milliseconds: number) => milliseconds / 1000
const context = (input: Json, name = 'EncryptionContext') =>
  (input[name] ?? {}) as Readonly<Record<string, string>>

/** Every operation that the server knows; others are answered with UnknownOperationException. */
export const HANDLERS: ReadonlyMap<string, Handler> = new Map<string, Handler>(
  Object.entries({
    CreateCustomKeyStore: async (kms, input) => {
      const { CustomKeyStoreType: type, ...rest } = input
      if (type !== 'EXTERNAL_KEY_STORE') throw new TypeError('only external key stores')
      const { name = '', ...proxy } = toChange(rest, 'CustomKeyStoreName')
      const created = await kms.stores.create({
        name,
        proxy: {
          connectivity: 'PUBLIC_ENDPOINT',
          uriEndpoint: '',
          uriPath: '',
          accessKeyId: '',
          rawSecretAccessKey: new Secret(''),
          ...proxy,
        },
      })
      return { CustomKeyStoreId: created.id }
    },
    DescribeCustomKeyStores: (kms, input) => {
      const id = optional(input, 'CustomKeyStoreId')
      const name = optional(input, 'CustomKeyStoreName')
      const found = kms.stores.describe({ ...(id && { id }), ...(name && { name }) })
      return { ...toPage('CustomKeyStores', found.map(describeStore), input) }
    },
    ConnectCustomKeyStore: (kms, input) => {
      kms.stores.connect(text(input, 'CustomKeyStoreId'))
      return {}
    },
    DisconnectCustomKeyStore: (kms, input) => {
      kms.stores.disconnect(text(input, 'CustomKeyStoreId'))
      return {}
    },
    UpdateCustomKeyStore: async (kms, input) => {
      const { CustomKeyStoreId: id, ...change } = input
      await kms.stores.update(String(id), toChange(change, 'NewCustomKeyStoreName'))
      return {}
    },
    DeleteCustomKeyStore: async (kms, input) => {
      await kms.stores.delete(text(input, 'CustomKeyStoreId'))
      return {}
    },
    CreateKey: async (kms, input, caller) => {
      const key = await kms.createKey(caller, {
        customKeyStoreId: text(input, 'CustomKeyStoreId'),
        xksKeyId: text(input, 'XksKeyId'),
        description: text(input, 'Description'),
      })
      return { KeyMetadata: describeKey(kms, key) }
    },
    DescribeKey: (kms, input) => ({
      KeyMetadata: describeKey(kms, kms.keys.get(text(input, 'KeyId'))),
    }),
    ListKeys: (kms, input) =>
      toPage(
        'Keys',
        kms.keys.list().map(({ keyId, arn }) => ({ KeyId: keyId, KeyArn: arn })),
        input,
      ),
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
    Encrypt: async (kms, input, caller) => {
      const { keyId, ciphertextBlob } = await kms.encrypt(caller, {
        keyId: text(input, 'KeyId'),
        plaintext: bytes(input, 'Plaintext'),
        encryptionContext: context(input),
      })
      return { CiphertextBlob: base64(ciphertextBlob), KeyId: keyId }
    },
    Decrypt: async (kms, input, caller) => {
      const expected = optional(input, 'KeyId')
      const { keyId, plaintext } = await kms.decrypt(caller, {
        ciphertextBlob: bytes(input, 'CiphertextBlob'),
        encryptionContext: context(input),
        ...(expected && { keyId: expected }),
      })
      return { KeyId: keyId, Plaintext: base64(plaintext) }
    },
    GenerateDataKey: async (kms, input, caller) => {
      const { keyId, plaintext, ciphertextBlob } = await kms.generateDataKey(caller, {
        keyId: text(input, 'KeyId'),
        numberOfBytes: toLength(input),
        encryptionContext: context(input),
      })
      return { KeyId: keyId, Plaintext: base64(plaintext), CiphertextBlob: base64(ciphertextBlob) }
    },
    GenerateDataKeyWithoutPlaintext: async (kms, input, caller) => {
      const { keyId, ciphertextBlob } = await kms.generateDataKeyWithoutPlaintext(caller, {
        keyId: text(input, 'KeyId'),
        numberOfBytes: toLength(input),
        encryptionContext: context(input),
      })
      return { KeyId: keyId, CiphertextBlob: base64(ciphertextBlob) }
    },
    ReEncrypt: async (kms, input, caller) => {
      const { ciphertextBlob, keyId, sourceKeyId } = await kms.reEncrypt(caller, {
        ciphertextBlob: bytes(input, 'CiphertextBlob'),
        sourceEncryptionContext: context(input, 'SourceEncryptionContext'),
        destinationKeyId: text(input, 'DestinationKeyId'),
        destinationEncryptionContext: context(input, 'DestinationEncryptionContext'),
      })
      return { CiphertextBlob: base64(ciphertextBlob), KeyId: keyId, SourceKeyId: sourceKeyId }
    },
  } satisfies Record<string, Handler>),
)

function toLength(input: Json): number {
  const spec = input['KeySpec']
  if (spec !== undefined) return spec === 'AES_128' ? 16 : 32
  return Number(input['NumberOfBytes'])
}

/** Returns only the named fields: UpdateCustomKeyStore keeps the rest. */
function toChange(input: Json, nameField: string): KeyStoreChange {
  const credential = input['XksProxyAuthenticationCredential'] as Json | undefined
  const pairs: readonly (readonly [string, unknown])[] = [
    ['name', optional(input, nameField)],
    ['connectivity', optional(input, 'XksProxyConnectivity')],
    ['uriEndpoint', optional(input, 'XksProxyUriEndpoint')],
    ['uriPath', optional(input, 'XksProxyUriPath')],
    ['vpcEndpointServiceName', optional(input, 'XksProxyVpcEndpointServiceName')],
    ['accessKeyId', credential && text(credential, 'AccessKeyId')],
    ['rawSecretAccessKey', credential && new Secret(text(credential, 'RawSecretAccessKey'))],
  ]
  return Object.fromEntries(pairs.filter(([, value]) => value !== undefined))
}

function describeStore({ id, name, createdAt, proxy, state, errorCode }: CustomKeyStore): Json {
  return {
    CustomKeyStoreId: id,
    CustomKeyStoreName: name,
    CustomKeyStoreType: 'EXTERNAL_KEY_STORE',
    ConnectionState: state,
    ...(errorCode && { ConnectionErrorCode: errorCode }),
    CreationDate: seconds(createdAt),
    XksProxyConfiguration: {
      AccessKeyId: proxy.accessKeyId,
      Connectivity: proxy.connectivity,
      UriEndpoint: proxy.uriEndpoint,
      UriPath: proxy.uriPath,
      ...(proxy.vpcEndpointServiceName && {
        VpcEndpointServiceName: proxy.vpcEndpointServiceName,
      }),
    },
  }
}

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

function toPage(name: string, all: readonly Json[], input: Json): Json {
  const start = Number(optional(input, 'Marker') ?? 0)
  const end = start + PAGE
  return {
    [name]: all.slice(start, end),
    Truncated: end < all.length,
    ...(end < all.length && { NextMarker: String(end) }),
  }
}
