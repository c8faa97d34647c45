/** Defines the section `store`: where software keys, credentials and kill switches are stored. */
// SPDX-License-Identifier: Apache-2.0
import type { Secret } from '../../core/secret.ts'
import { converted, object, oneOf, optional } from '../setting.ts'
import {
  choice,
  duration,
  file,
  integer,
  path,
  type RotatedSecret,
  rotatedSecret,
  secret,
  text,
} from '../settings.ts'

interface Login {
  readonly password?: Secret
  readonly passwordFile?: string
  readonly passwordProgram?: readonly string[]
}

function toLogin(password: RotatedSecret): Login {
  if ('file' in password) return { passwordFile: password.file }
  if ('exec' in password) return { passwordProgram: password.exec }
  return { password: password.secret }
}

const postgres = converted(
  object('PostgreSQL database, as an alternative to `path`. `latchkey init` creates the tables.', {
    host: text(
      'Name or address of the server. Separate several servers by commas, and append a port that differs from `port`: `db1,db2:5433`. Latchkey uses the first server that accepts writes.',
    ),
    port: integer('Port of the server or servers.', { minimum: 1, maximum: 65_535, default: 5432 }),
    database: text('Name of the database. It must already exist.'),
    user: text('PostgreSQL role that owns the tables.'),
    password: optional(rotatedSecret('Source of the password.')),
    tls: object('TLS settings for connections to PostgreSQL.', {
      mode: choice(
        ['verify', 'off'],
        "verify: connections use TLS, and the server's certificate is verified. off: connections are not encrypted; use it only for a server on the same host.",
        'verify',
      ),
      ca: optional(
        file(
          "PEM bundle of the authorities that the server's certificate must chain to. Default: the authorities that Node.js ships with.",
        ),
      ),
      certificate: optional(file('PEM file with the client certificate that Latchkey presents.')),
      privateKey: optional(file("PEM file with the client certificate's private key.")),
      serverName: optional(
        text("Name to expect in the server's certificate. Default: the value of `host`."),
      ),
    }),
  }),
  ({ password, tls: { mode, ...tls }, ...place }) => {
    const login = password === undefined ? {} : toLogin(password)
    const trust: { readonly tls?: typeof tls } = mode === 'off' ? {} : { tls }
    return { ...place, ...login, ...trust }
  },
)

/** The secret that opens the store. */
export type MasterKeyConfig =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'passphrase'; readonly passphrase: Secret }
  /** A key on a token of one of the `backends`. */
  | { readonly kind: 'pkcs11'; readonly backend: string; readonly label: string }

const masterKey = converted(
  oneOf(
    'Key that opens the store: a file with 32 random bytes, a passphrase, or a key on a token. Back it up separately from the store.',
    {
      file: optional(path('Key file, with mode 0600.')),
      passphrase: optional(secret('Source of the passphrase.')),
      pkcs11: optional(
        object(
          'Key on a token. `latchkey init` creates it. The token must be available whenever Latchkey starts.',
          {
            backend: text('Name of the entry in `backends` that has the token.'),
            label: text('Label of the key on the token.', {
              pattern: '^latchkey .{1,64}$',
              patternErrorMessage: 'a label that starts with "latchkey ", unlike any key id',
              default: 'latchkey master key',
            }),
          },
        ),
      ),
    },
  ),
  ({ file, passphrase, pkcs11 }): MasterKeyConfig => {
    if (file !== undefined) return { kind: 'file', path: file }
    if (passphrase !== undefined) return { kind: 'passphrase', passphrase }
    if (pkcs11 !== undefined) return { kind: 'pkcs11', ...pkcs11 }
    throw new TypeError('the schema accepted a master key without a kind')
  },
)

export const store = object(
  'The control store, which holds keys, credentials and kill switches: a file for one host, or a PostgreSQL database for a fleet.',
  {
    path: optional(path('SQLite database file, created by `latchkey init`.')),
    postgres: optional(postgres),
    masterKey,
    pollInterval: duration(
      'Interval at which a server checks the store for changes that commands made.',
      '250ms',
      [10, 60_000],
    ),
    maxBackupAge: duration(
      'Maximum age of the last backup that `latchkey store backup` made. If it is older, `latchkey status` warns, and so does `serve` when it starts. `0s` disables the warnings; use it if other tools make the backups.',
      '168h',
      [0, 366 * 86_400_000],
    ),
  },
)
