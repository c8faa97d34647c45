/** The JSON Schema of latchkey.yaml, composed from its sections. */
// SPDX-License-Identifier: Apache-2.0
import type { AdminRole, IvMode } from './config.ts'
import { admin } from './sections/admin.ts'
import { backends } from './sections/backends.ts'
import { keyStores } from './sections/key-stores.ts'
import { listener } from './sections/listener.ts'
import { type Schema, object } from './sections/section.ts'
import {
  activity,
  control,
  health,
  limits,
  logging,
  metrics,
  sigv4,
  tracing,
  workers,
} from './sections/service.ts'
import { store } from './sections/store.ts'

export const CONFIG_SCHEMA: Schema = object(
  'Configuration of Latchkey.',
  {
    workers,
    listener,
    keyStores,
    backends,
    store,
    control,
    admin,
    limits,
    sigv4,
    health,
    activity,
    logging,
    metrics,
    tracing,
  },
  { required: ['listener', 'keyStores', 'store'] },
)

export interface RawSecretSource {
  readonly file?: string
  readonly env?: string
}

export interface RawBackend {
  readonly name: string
  readonly kind: 'pkcs11'
  readonly module: string
  readonly parameters?: string
  readonly environment: readonly string[]
  readonly tokens: readonly {
    readonly label?: string
    readonly serial?: string
    readonly slot?: number
    readonly pin: RawSecretSource
  }[]
  readonly sessions: { readonly min: number; readonly max: number }
  readonly maxQueued: number
  readonly deadlines: { readonly operation: string; readonly start: string; readonly stuck: string }
  readonly heartbeat: string
  readonly iv: IvMode
  readonly keys: { readonly by: 'label' | 'id'; readonly refresh: string }
  readonly healthKey: string
  readonly verifyEveryEncrypt: boolean
  readonly functionFailedIsBusy: boolean
}

/** The file as it is written, after the schema and its defaults. */
export interface RawConfig {
  readonly workers: number | 'auto'
  readonly tracing?: { readonly endpoint: string; readonly percent: number }
  readonly metrics?: { readonly host: string; readonly port: number }
  readonly listener: {
    readonly host: string
    readonly port: number
    readonly tls: { readonly certificate: string; readonly privateKey: string }
    readonly clientCertificate?: {
      readonly ca: string
      readonly regions?: readonly string[]
      readonly subjects?: readonly string[]
      readonly forwardedBy?: {
        readonly peers: readonly string[]
        readonly certificate?: { readonly ca: string; readonly subjects: readonly string[] }
        readonly header: string
        readonly format: 'xfcc' | 'subject-dn'
        readonly verifyHeader?: string
      }
    }
    readonly proxyProtocol?: { readonly peers: readonly string[] }
    readonly http2: boolean
    readonly ping?: { readonly host: string; readonly port: number }
    readonly timeouts: {
      readonly headers: string
      readonly request: string
      readonly keepAlive: string
      readonly tlsHandshake: string
    }
    readonly maxConnections: number
    readonly maxRequestsPerConnection: number
    readonly drain: { readonly delay: string; readonly timeout: string }
  }
  readonly keyStores: readonly {
    readonly name: string
    readonly prefix: string
    readonly backend: string
    readonly keyPrefix: string
    readonly accept: readonly 'aws-sample'[]
    readonly regions?: readonly string[]
    readonly quota?: { readonly requestsPerSecond: number; readonly burst?: number }
  }[]
  readonly backends: readonly RawBackend[]
  readonly store: {
    readonly path?: string
    readonly postgres?: {
      readonly host: string
      readonly port: number
      readonly database: string
      readonly user: string
      readonly password?: RawSecretSource
      readonly tls: {
        readonly mode: 'verify' | 'off'
        readonly ca?: string
        readonly certificate?: string
        readonly privateKey?: string
        readonly serverName?: string
      }
    }
    readonly masterKey: {
      readonly file?: string
      readonly passphrase?: RawSecretSource
      readonly pkcs11?: { readonly backend: string; readonly label: string }
    }
    readonly pollInterval: string
  }
  readonly control: {
    readonly lease: string
    readonly sentinelFile?: string
    readonly highWaterFile?: string
    readonly restore: { readonly people: 1 | 2; readonly delay: string }
  }
  readonly admin?: {
    readonly host: string
    readonly port: number
    readonly tls?: { readonly certificate: string; readonly privateKey: string }
    readonly clientCertificates?: {
      readonly ca: string
      readonly subjects: readonly { readonly commonName: string; readonly role: AdminRole }[]
    }
    readonly tokens?: readonly {
      readonly name: string
      readonly role: AdminRole
      readonly sha256: string
    }[]
  }
  readonly limits: {
    readonly maxPlaintextBytes: number
    readonly maxAadBytes: number
    readonly requestDeadline: string
  }
  readonly sigv4: { readonly clockSkew: string }
  readonly health: { readonly interval: string; readonly fleetSize?: number }
  readonly activity: {
    readonly retention: string
    readonly flushInterval: string
    readonly maxSubjects: number
  }
  readonly logging: { readonly level: 'debug' | 'info' | 'warn' | 'error' }
}
