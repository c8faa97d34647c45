/** What a whole, valid configuration is. Paths are absolute, times in milliseconds, sizes in bytes. */
// SPDX-License-Identifier: Apache-2.0
import type { KeyStoreName } from '../core/ids.ts'
import type { Secret } from '../core/secret.ts'

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
  /** Terminators that ask for the certificate in our place. */
  readonly forwardedBy?: ForwardedByConfig
}

export interface ForwardedByConfig {
  /** Addresses and networks that the terminators' TCP connections come from. */
  readonly peers: readonly string[]
  /** What they show themselves; absent: nothing, on loopback only. */
  readonly certificate?: { readonly caFile: string; readonly subjects: readonly string[] }
  /** In small letters. */
  readonly header: string
  readonly format: 'xfcc' | 'subject-dn'
  /** In small letters; for `subject-dn`. */
  readonly verifyHeader?: string
}

export interface ListenerConfig {
  readonly host: string
  /** 0 takes any free port. */
  readonly port: number
  readonly tls: TlsConfig
  readonly clientCertificate?: ClientCertificateConfig
  /** Load balancers that begin each connection with a header of the PROXY protocol, version 2. */
  readonly proxyProtocol?: {
    /** Addresses and networks. */
    readonly peers: readonly string[]
  }
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

/** A token by one of its names; exactly one is there. */
export interface TokenSelector {
  readonly label?: string
  readonly serial?: string
  readonly slot?: number
}

export interface TokenConfig extends TokenSelector {
  readonly pin: Secret
}

/** How the initialization vector of an encryption comes about. */
export type IvMode = 'host' | 'hsm-written' | 'hsm-appended-12' | 'hsm-appended-16' | 'cloudhsm-gcm'

/** Keys on PKCS#11 tokens. */
export interface Pkcs11BackendConfig {
  readonly kind: 'pkcs11'
  readonly name: string
  /** Path of the module, or its file name for the dynamic linker. */
  readonly module: string
  /** What C_Initialize gets as pReserved; NSS needs it. */
  readonly parameters?: string
  /** The whole environment of the processes that the module runs in. */
  readonly environment: Readonly<Record<string, string>>
  /** One or more, all with the same keys. */
  readonly tokens: readonly TokenConfig[]
  /** Processes for each token, each with one session. */
  readonly sessions: { readonly min: number; readonly max: number }
  /** Operations that may wait for each token. */
  readonly maxQueued: number
  readonly deadlines: {
    /** Of one operation, waiting included. */
    readonly operationMs: number
    /** Of loading the module, logging in and the self-test. */
    readonly startMs: number
    /** A process that is silent for this long past the deadline is killed. */
    readonly stuckMs: number
  }
  readonly heartbeatMs: number
  readonly iv: IvMode
  readonly keys: {
    readonly by: 'label' | 'id'
    /** After this long, what is known of a key is looked up again. */
    readonly refreshMs: number
  }
  /** Label of the key for health checks. */
  readonly healthKey: string
  /** Decrypt and compare what every Encrypt made, even when KMS did not ask for a CDIV. */
  readonly verifyEveryEncrypt: boolean
  /** CKR_FUNCTION_FAILED on Encrypt means that the HSM is busy (AWS CloudHSM). */
  readonly functionFailedIsBusy: boolean
}

export interface KeyStoreConfig {
  readonly name: KeyStoreName
  /** One of `backends`, or `software`. */
  readonly backend: string
  /** Put before a key id to make the label of its key on a token. */
  readonly keyPrefix: string
  /** Ciphertexts of other proxies that are decrypted here, too. */
  readonly accept: readonly 'aws-sample'[]
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
  /** A key on a token of one of `backends`. */
  | { readonly kind: 'pkcs11'; readonly backend: string; readonly label: string }

/** The kill switch. */
export interface ControlConfig {
  /** How long what a server knows may be relied upon without reading the store again. */
  readonly leaseMs: number
  readonly sentinelFile: string
  readonly highWaterFile: string
  readonly restore: {
    /** 2: a second person approves. */
    readonly people: 1 | 2
    readonly delayMs: number
  }
}

export type AdminRole = 'viewer' | 'operator' | 'admin'

export interface AdminConfig {
  readonly host: string
  /** 0 takes any free port. */
  readonly port: number
  /** Absent: plain HTTP, on loopback only. */
  readonly tls?: TlsConfig
  readonly clientCertificates?: {
    /** PEM bundle. */
    readonly caFile: string
    readonly subjects: readonly { readonly commonName: string; readonly role: AdminRole }[]
  }
  readonly tokens: readonly {
    readonly name: string
    readonly role: AdminRole
    /** Of the token, hexadecimal. */
    readonly sha256: string
  }[]
}

export interface PostgresConfig {
  /** One or several, as libpq takes them: `db1,db2:5433`. */
  readonly host: string
  readonly port: number
  readonly database: string
  readonly user: string
  readonly password?: Secret
  /** Read again for each connection; instead of `password`. */
  readonly passwordFile?: string
  /** Absent: in the clear. */
  readonly tls?: {
    readonly caFile?: string
    readonly certificateFile?: string
    readonly privateKeyFile?: string
    readonly serverName?: string
  }
}

export interface Config {
  /** OpenTelemetry by OTLP over HTTP; absent: none. */
  readonly tracing?: { readonly endpoint: string; readonly percent: number }
  /** Plain HTTP for GET /metrics; absent: none. */
  readonly metrics?: { readonly host: string; readonly port: number }
  /** Worker processes; 1: none beside this process; auto: one for each core that it may use. */
  readonly workers: number | 'auto'
  readonly listener: ListenerConfig
  /** Absent: there is no admin listener. */
  readonly admin?: AdminConfig
  readonly store: {
    /** The SQLite database file; either this or `postgres`. */
    readonly path?: string
    readonly postgres?: PostgresConfig
    readonly masterKey: MasterKeyConfig
    /** How often a server looks for changes that the CLI made. */
    readonly pollIntervalMs: number
  }
  readonly control: ControlConfig
  readonly keyStores: readonly KeyStoreConfig[]
  /** Beside `software`, which is always there. */
  readonly backends: readonly Pkcs11BackendConfig[]
  readonly limits: {
    /** At least 4,300. */
    readonly maxPlaintextBytes: number
    /** At least 8,192, at most 65,535. */
    readonly maxAadBytes: number
    /** Budget of one request, from its first byte. */
    readonly requestDeadlineMs: number
  }
  readonly sigv4: {
    /** How far x-amz-date may be from our clock, either way. */
    readonly clockSkewMs: number
  }
  readonly health: {
    /** Between two deep checks; at most 60,000. */
    readonly intervalMs: number
    /** xksProxyFleetSize; absent: as many as use the store at the moment. */
    readonly fleetSize?: number
  }
  readonly activity: {
    /** Of counts by hour; at least two hours. */
    readonly retentionMs: number
    readonly flushIntervalMs: number
    /** Told apart by one process within an hour. */
    readonly maxSubjects: number
  }
  readonly logging: {
    readonly level: 'debug' | 'info' | 'warn' | 'error'
  }
}
