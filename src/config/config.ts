/**
 * The type of a complete, valid configuration. Paths are absolute, times are in milliseconds, and
 * sizes are in bytes. The sections describe each setting.
 */
// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path'
import { CONFIG, type RawConfig } from './schema.ts'
import type { Conversion, ValueOf } from './setting.ts'
import { STATE_NAME } from './state-folder.ts'

type Written = ValueOf<typeof CONFIG>

/** The default locations of this host's files depend on the location of the store. */
export interface Config extends Omit<Written, 'control' | 'audit'> {
  readonly audit: Written['audit'] & { readonly folder: string }
  readonly control: Written['control'] & {
    readonly sentinelFile: string
    readonly highWaterFile: string
  }
}

export type ListenerConfig = Config['listener']
/**
 * The mTLS settings, which determine the clients that may open a connection at all (XKS 1.0.3,
 * Authentication).
 */
export type ClientCertificateConfig = NonNullable<ListenerConfig['clientCertificate']>
export type ForwardedByConfig = NonNullable<ClientCertificateConfig['forwardedBy']>
export type KeyStoreConfig = Config['keyStores'][number]
/** Keys on PKCS#11 tokens. */
export type Pkcs11BackendConfig = Config['backends'][number]
export type TokenConfig = Pkcs11BackendConfig['tokens'][number]
/** Selects a token by exactly one of its names. */
export type TokenSelector = Omit<TokenConfig, 'pin'>
/** The source of the initialization vector for an encryption. */
export type IvMode = Pkcs11BackendConfig['iv']
export type AdminConfig = NonNullable<Config['admin']>
export type OidcConfig = NonNullable<AdminConfig['oidc']>
export type WebhookConfig = Config['webhooks'][number]
export type { WebhookEvent } from './sections/webhooks.ts'
export type { MasterKeyConfig } from './sections/store.ts'

/**
 * @param raw a configuration that has passed validation
 * @param stateFolder directory for this instance's files if the store is in PostgreSQL
 */
export function toConfig(raw: RawConfig, conversion: Conversion, stateFolder: string): Config {
  const written = CONFIG.convert(raw, '', conversion)
  const base = written.store.path ?? join(stateFolder, STATE_NAME)
  return {
    ...written,
    audit: { folder: `${base}.audit`, ...written.audit },
    control: { sentinelFile: `${base}.block`, highWaterFile: `${base}.epoch`, ...written.control },
  }
}
