/**
 * Saves everything that the emulator needs to decrypt after a restart, as one JSON file with mode
 * 0600. The file holds KMS's key material and the proxies' credentials unencrypted, so it is for
 * trials only.
 */
// SPDX-License-Identifier: Apache-2.0
import { createSecretKey, randomBytes } from 'node:crypto'
import { open, readFile, rename } from 'node:fs/promises'
import { LatchkeyError } from '../../core/errors.ts'
import { Secret } from '../../core/secret.ts'
import type { Alias } from './aliases.ts'
import type { KeyAttachments } from './attachments.ts'
import type { CustomKeyStore, ProxyConfiguration } from './custom-key-store.ts'
import type { KmsKey } from './kms-keys.ts'

export interface KmsState {
  readonly stores: readonly CustomKeyStore[]
  readonly keys: readonly KmsKey[]
  readonly aliases: readonly Alias[]
  readonly attachments: KeyAttachments
}

export const EMPTY_STATE: KmsState = {
  stores: [],
  keys: [],
  aliases: [],
  attachments: { tags: [], policies: [], grants: [] },
}

export type KmsStateErrorCode =
  | 'KMS_STATE_INVALID' // the file is not a state file of the emulator
  | 'KMS_STATE_OF_ANOTHER' // the file belongs to another account or region

export class KmsStateError extends LatchkeyError<KmsStateErrorCode> {
  override readonly name = 'KmsStateError'
}

/** The account and region that appear in the ARNs of the state. */
export interface KmsIdentity {
  readonly region: string
  /** 12 digits. */
  readonly accountId: string
}

const FORMAT = 'latchkey kms 1'

interface StateFile extends KmsIdentity {
  readonly format: string
  readonly stores: readonly (Omit<CustomKeyStore, 'proxy'> & {
    readonly proxy: Omit<ProxyConfiguration, 'rawSecretAccessKey'> & {
      readonly rawSecretAccessKey: string
    }
  })[]
  readonly keys: readonly (Omit<KmsKey, 'material' | 'backingKeyId'> & {
    readonly material: string
    readonly backingKeyId: string
  })[]
  readonly aliases: readonly Alias[]
  readonly attachments: KeyAttachments
}

/** Returns an empty state if there is no file. @throws KmsStateError, or a system error */
export async function loadKmsState(path: string, identity: KmsIdentity): Promise<KmsState> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return undefined
  })
  if (text === undefined) return EMPTY_STATE
  const file = parse(path, text)
  if (file.region !== identity.region || file.accountId !== identity.accountId) {
    throw new KmsStateError(
      'KMS_STATE_OF_ANOTHER',
      `${path} belongs to account ${file.accountId} in ${file.region}, not to ${identity.accountId} in ${identity.region}`,
      { hint: 'pass the same --account and --region, or use a different file' },
    )
  }
  return {
    ...file,
    stores: file.stores.map(({ proxy, ...store }) => ({
      ...store,
      proxy: { ...proxy, rawSecretAccessKey: new Secret(proxy.rawSecretAccessKey) },
    })),
    keys: file.keys.map((key) => ({
      ...key,
      material: createSecretKey(Buffer.from(key.material, 'base64')),
      backingKeyId: Buffer.from(key.backingKeyId, 'base64'),
    })),
  }
}

function parse(path: string, text: string): StateFile {
  let file: Partial<StateFile> | null
  try {
    file = JSON.parse(text) as Partial<StateFile> | null
  } catch (cause) {
    throw new KmsStateError('KMS_STATE_INVALID', `${path} is not JSON`, { cause })
  }
  const lists = [file?.stores, file?.keys, file?.aliases]
  if (file?.format !== FORMAT || !lists.every(Array.isArray) || file.attachments === undefined) {
    throw new KmsStateError('KMS_STATE_INVALID', `${path} is not a state file of latchkey kms`)
  }
  return file as StateFile
}

/** Replaces the file atomically, so that a crash leaves either the old file or the new one. */
export async function saveKmsState(
  path: string,
  { region, accountId }: KmsIdentity,
  state: KmsState,
): Promise<void> {
  const file: StateFile = {
    ...{ format: FORMAT, region, accountId },
    stores: state.stores.map(({ proxy, ...store }) => ({
      ...store,
      proxy: { ...proxy, rawSecretAccessKey: proxy.rawSecretAccessKey.reveal() },
    })),
    keys: state.keys.map(({ material, backingKeyId, ...key }) => ({
      ...key,
      material: material.export().toString('base64'),
      backingKeyId: backingKeyId.toString('base64'),
    })),
    aliases: state.aliases,
    attachments: state.attachments,
  }
  const draft = `${path}.${randomBytes(6).toString('hex')}.new`
  const handle = await open(draft, 'wx', 0o600)
  try {
    await handle.writeFile(`${JSON.stringify(file, undefined, 1)}\n`)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(draft, path)
}
