/** `store`: where software keys and credentials are kept. */
// SPDX-License-Identifier: Apache-2.0
import type { Secret } from '../../core/secret.ts'
import { converted, object, oneOf, optional } from '../setting.ts'
import { choice, duration, file, integer, path, rotatedSecret, secret, text } from '../settings.ts'

const postgres = converted(
  object('A PostgreSQL server, instead of `path`; `latchkey init` makes the tables.', {
    host: text(
      'Name or address; several with commas between, each with its port where it has another: `db1,db2:5433`. The first that accepts writes is used.',
    ),
    port: integer('Their port.', { minimum: 1, maximum: 65_535, default: 5432 }),
    database: text('Name of the database, which must exist.'),
    user: text('Role that owns the tables.'),
    password: optional(rotatedSecret('Where to read the password from.')),
    tls: object('The certificate of the server is always verified.', {
      mode: choice(
        ['verify', 'off'],
        'off: in the clear, for a server on the same host.',
        'verify',
      ),
      ca: optional(file('PEM bundle; else the authorities that Node.js comes with.')),
      certificate: optional(file('Client certificate, PEM.')),
      privateKey: optional(file('Its private key, PEM.')),
      serverName: optional(text('The name in its certificate; else `host`.')),
    }),
  }),
  ({ password, tls: { mode, ...tls }, ...place }) => {
    const login: { readonly password?: Secret; readonly passwordFile?: string } =
      password === undefined
        ? {}
        : 'file' in password
          ? { passwordFile: password.file }
          : { password: password.secret }
    const trust: { readonly tls?: typeof tls } = mode === 'off' ? {} : { tls }
    return { ...place, ...login, ...trust }
  },
)

/** What opens the store. */
export type MasterKeyConfig =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'passphrase'; readonly passphrase: Secret }
  /** A key on a token of one of `backends`. */
  | { readonly kind: 'pkcs11'; readonly backend: string; readonly label: string }

const masterKey = converted(
  oneOf(
    'What opens the store: a file of 32 random bytes, a passphrase, or a key on a token. Back it up apart from the store.',
    {
      file: optional(path('Key file, mode 0600.')),
      passphrase: optional(secret('Where to read the passphrase from.')),
      pkcs11: optional(
        object('A key on a token, which `latchkey init` makes. It must be there for every start.', {
          backend: text('Name of one of `backends`.'),
          label: text('Label of the key.', {
            pattern: '^latchkey .{1,64}$',
            patternErrorMessage: 'a label that starts with "latchkey ", as no key id can',
            default: 'latchkey master key',
          }),
        }),
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
    path: optional(path('SQLite database file, made by `latchkey init`.')),
    postgres: optional(postgres),
    masterKey,
    pollInterval: duration(
      'How often a server looks for changes made by the CLI.',
      '250ms',
      [10, 60_000],
    ),
  },
)
