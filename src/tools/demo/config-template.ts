/** The latchkey.yaml that `init` and `quickstart` write. */
// SPDX-License-Identifier: Apache-2.0

export interface FirstConfigOptions {
  readonly host?: string
  readonly port?: number
  readonly certificate?: string
  readonly privateKey?: string
  readonly keyStore?: string
  readonly prefix?: string
  readonly store?: string
  readonly masterKey?: string
  /** Disables warnings about missing backups, for a trial (default: false). */
  readonly isTrial?: boolean
  /** Plain-HTTP admin listener on loopback, with a single admin token. Default: none. */
  readonly admin?: { readonly port: number; readonly tokenSha256: string }
}

export function renderFirstConfig(options: FirstConfigOptions = {}): string {
  const name = options.keyStore ?? 'main'
  return `# Latchkey, an AWS KMS External Key Store proxy.
# Every setting, with its default: docs/configuration.md. Check this file: latchkey config check

listener:
  host: ${options.host ?? '0.0.0.0'}
  port: ${String(options.port ?? 8443)}
  tls:
    # The certificate first, then every intermediate. KMS trusts public authorities only.
    certificate: ${options.certificate ?? 'tls/server.crt'}
    privateKey: ${options.privateKey ?? 'tls/server.key'}
  # mTLS: uncomment to let only KMS connect.
  # clientCertificate:
  #   ca: tls/amazon-trust-services.pem
  #   regions: [eu-west-1]

# What KMS calls an external key store; XksProxyUriPath is the prefix followed by /kms/xks/v1.
keyStores:
  - name: ${name}
    prefix: ${options.prefix ?? `/${name}`}

store:
  path: ${options.store ?? 'latchkey.db'}
  masterKey:
    file: ${options.masterKey ?? 'master.key'}
${options.isTrial === true ? '  maxBackupAge: 0s # a trial needs no backups\n' : ''}${renderAdmin(options)}`
}

function renderAdmin({ admin }: FirstConfigOptions): string {
  if (admin === undefined) return ''
  return `
# The console, and operator commands from other hosts. Plain HTTP is for loopback only.
admin:
  port: ${String(admin.port)}
  tokens:
    - name: demo
      role: admin
      sha256: ${admin.tokenSha256}
`
}
