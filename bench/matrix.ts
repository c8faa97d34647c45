/** Defines the comparison: the servers, and every way to connect to them. */
// SPDX-License-Identifier: Apache-2.0

export const CERTIFICATES = ['rsa', 'p256'] as const
export type CertificateKind = (typeof CERTIFICATES)[number]

export const TRANSPORTS = ['h1', 'h2'] as const
export type Transport = (typeof TRANSPORTS)[number]

export const CONNECTIONS = ['kept', 'new'] as const
export type ConnectionKind = (typeof CONNECTIONS)[number]

export const OPERATIONS = ['encrypt', 'decrypt', 'health'] as const
export type BenchOperation = (typeof OPERATIONS)[number]

export interface Way {
  readonly operation: BenchOperation
  readonly transport: Transport
  readonly connections: ConnectionKind
  readonly certificate: CertificateKind
}

export interface Case extends Way {
  readonly server: string
}

/** Formats a case's name, such as `latchkey encrypt h1 kept rsa`. */
export function nameOf({ server, operation, transport, connections, certificate }: Case): string {
  return [server, operation, transport, connections, certificate].join(' ')
}

/**
 * Encrypt is measured over every kind of connection. The other operations are measured only over the usual kind, and
 * only for proxies.
 */
export function casesOf(server: string, kind: 'fixed' | 'proxy'): readonly Case[] {
  const usual = { server, transport: 'h1', connections: 'kept', certificate: 'rsa' } as const
  const others: readonly Case[] =
    kind === 'fixed'
      ? []
      : [
          { ...usual, operation: 'decrypt' },
          { ...usual, operation: 'health' },
        ]
  const ways = TRANSPORTS.flatMap((transport) =>
    CONNECTIONS.flatMap((connections) =>
      CERTIFICATES.map((certificate) => ({
        server,
        operation: 'encrypt' as const,
        transport,
        connections,
        certificate,
      })),
    ),
  )
  return [...ways, ...others]
}

/** Returns the name of the bare server's case with the same connection, which is the baseline for `one`. */
export function baselineOf(one: Case): string {
  return nameOf({ ...one, server: 'bare', operation: 'encrypt' })
}
