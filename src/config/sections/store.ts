/** `store`: where software keys, credentials and kill switches are stored. */
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
  object('A PostgreSQL server, instead of `path`. `latchkey init` creates the tables.', {
    host: text(
      'Name or address, or several separated by commas, each with its port if it differs: `db1,db2:5433`. The first that accepts writes is used.',
    ),
    port: integer('Port of the servers.', { minimum: 1, maximum: 65_535, default: 5432 }),
    database: text('Name of the database, which must exist.'),
    user: text('Role that owns the tables.'),
    password: optional(rotatedSecret('Where to read the password from.')),
    tls: object('TLS to the server, whose certificate is always verified.', {
      mode: choice(['verify', 'off'], 'off: unencrypted, for a server on the same host.', 'verify'),
      ca: optional(file('PEM bundle of authorities. Default: those that Node.js ships with.')),
      certificate: optional(file('PEM file of the client certificate.')),
      privateKey: optional(file('PEM file of its private key.')),
      serverName: optional(text("Name in the server's certificate. Default: `host`.")),
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
    'The key that opens the store: a file of 32 random bytes, a passphrase, or a key on a token. Back it up separately from the store.',
    {
      file: optional(path('Key file, mode 0600.')),
      passphrase: optional(secret('Where to read the passphrase from.')),
      pkcs11: optional(
        object(
          'A key on a token, created by `latchkey init`. The token must be available at every start.',
          {
            backend: text('Name of one of the `backends`.'),
            label: text('Label of the key.', {
              pattern: '^latchkey .{1,64}$',
              patternErrorMessage: 'a label that starts with "latchkey ", which no key id can',
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
    throw new TypeError('the schema accepts a master key of no kind')
  },
)

export const store = object(
  'The control store: keys, credentials, kill switches. A file for one host, or PostgreSQL for a fleet.',
  {
    path: optional(path('SQLite database file, created by `latchkey init`.')),
    postgres: optional(postgres),
    masterKey,
    pollInterval: duration(
      'Interval at which a server looks for changes made by commands.',
      '250ms',
      [10, 60_000],
    ),
    maxBackupAge: duration(
      'Age of the last backup by `latchkey store backup` above which the start and `latchkey status` warn. `0s`: no warnings, for backups by other tools.',
      '168h',
      [0, 366 * 86_400_000],
    ),
  },
)
