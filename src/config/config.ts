/** What a whole, valid configuration is. Paths are absolute, times in milliseconds, sizes in bytes. */
// SPDX-License-Identifier: Apache-2.0
import type { KeyStoreName } from '../base/ids.ts'
import type { Secret } from '../base/secret.ts'

export interface TlsConfig {
  /** PEM: the leaf first, then its intermediates. */
  readonly certificateFile: string
  /** PEM. */
  readonly privateKeyFile: string
}

/** mTLS: who may open a connection at all (XKS 1.0.3, Authentication). */
export interface ClientCertificateConfig {
  /** PEM bundle of the certificate authorities that a client certificate must chain to. */
  readonly caFile: string
  /** Exact subject common names, one of which it must carry: cks.kms.<region>.amazonaws.com. */
  readonly subjects: readonly string[]
}

export interface ListenerConfig {
  readonly host: string
  /** 0 takes any free port. */
  readonly port: number
  readonly tls: TlsConfig
  readonly clientCertificate?: ClientCertificateConfig
  /** Offer HTTP/2 by ALPN beside HTTP/1.1. */
  readonly http2: boolean
  /** Plain HTTP for load balancers' GET /ping; absent: only the TLS port answers it. */
  readonly ping?: { readonly host: string; readonly port: number }
  readonly timeouts: {
    /** From the first byte of a request to the end of its headers. */
    readonly headersMs: number
    /** From the first byte of a request to the end of its body. */
    readonly requestMs: number
    /** Idle time of a kept-alive connection; longer than the load balancer's own. */
    readonly keepAliveMs: number
    readonly tlsHandshakeMs: number
  }
  readonly maxConnections: number
  /** About so many, then it is closed for a new one to be opened; 0: any number. */
  readonly maxRequestsPerConnection: number
  readonly drain: {
    /** /ping answers 503 this long before the listener stops accepting. */
    readonly delayMs: number
    /** Then requests in flight have this long to end. */
    readonly timeoutMs: number
  }
}

export interface KeyStoreConfig {
  readonly name: KeyStoreName
  /** Path prefix before /kms/xks/v1, with its leading slash; empty for none. */
  readonly prefix: string
  /** AWS regions whose KMS may call; absent: any. */
  readonly regions?: readonly string[]
  /** Requests a second and how many at once; absent: no quota. */
  readonly quota?: { readonly requestsPerSecond: number; readonly burst: number }
}

export type MasterKeyConfig =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'passphrase'; readonly passphrase: Secret }

export interface Config {
  /** Worker processes; 1: none beside this process; auto: one for each core that it may use. */
  readonly workers: number | 'auto'
  readonly listener: ListenerConfig
  readonly store: {
    /** The SQLite database file. */
    readonly path: string
    readonly masterKey: MasterKeyConfig
    /** How often a server looks for changes that the CLI made. */
    readonly pollIntervalMs: number
  }
  readonly keyStores: readonly KeyStoreConfig[]
  readonly limits: {
    /** At least 4,300. */
    readonly maxPlaintextBytes: number
    /** At least 8,192, at most 65,535. */
    readonly maxAadBytes: number
    /** Budget of one request in the key backend. */
    readonly requestDeadlineMs: number
  }
  readonly sigv4: {
    /** How far x-amz-date may be from our clock, either way. */
    readonly clockSkewMs: number
  }
  readonly health: {
    /** Between two deep checks; at most 60,000. */
    readonly intervalMs: number
    /** xksProxyFleetSize, until a fleet store counts the instances. */
    readonly fleetSize: number
  }
  readonly logging: {
    readonly level: 'debug' | 'info' | 'warn' | 'error'
  }
}
