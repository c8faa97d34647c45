/** `store`: where software keys and credentials are kept. */
// SPDX-License-Identifier: Apache-2.0
import { duration, integer, object, path, type Schema } from './section.ts'

export const store = object(
  'The control store: keys, credentials, kill switches. A file for one host, or PostgreSQL for a fleet.',
  {
    path: path('SQLite database file, made by `latchkey init`.'),
    postgres: object(
      'A PostgreSQL server, instead of `path`; `latchkey init` makes the tables.',
      {
        host: text(
          'Name or address; several with commas between, each with its port where it has another: `db1,db2:5433`. The first that accepts writes is used.',
        ),
        port: integer('Their port.', { minimum: 1, maximum: 65_535, default: 5432 }),
        database: text('Name of the database, which must exist.'),
        user: text('Role that owns the tables.'),
        password: object(
          'Where to read the password from.',
          {
            file: path(
              'File, mode 0600; a line break at its end does not count. It is read for each connection.',
            ),
            env: { type: 'string', minLength: 1, description: 'Name of an environment variable.' },
          },
          { minProperties: 1, maxProperties: 1 },
        ),
        tls: object(
          'The certificate of the server is always verified.',
          {
            mode: {
              type: 'string',
              enum: ['verify', 'off'],
              default: 'verify',
              description: 'off: in the clear, for a server on the same host.',
            },
            ca: path('PEM bundle; else the authorities that Node.js comes with.'),
            certificate: path('Client certificate, PEM.'),
            privateKey: path('Its private key, PEM.'),
            serverName: text('The name in its certificate; else `host`.'),
          },
          { default: {} },
        ),
      },
      { required: ['host', 'database', 'user'] },
    ),
    masterKey: object(
      'What opens the store: a file of 32 random bytes, a passphrase, or a key on a token. Back it up apart from the store.',
      {
        file: path('Key file, mode 0600.'),
        passphrase: object(
          'Where to read the passphrase from.',
          {
            file: path('File, mode 0600; a line break at its end does not count.'),
            env: { type: 'string', minLength: 1, description: 'Name of an environment variable.' },
          },
          { minProperties: 1, maxProperties: 1 },
        ),
        pkcs11: object(
          'A key on a token, which `latchkey init` makes. It must be there for every start.',
          {
            backend: { type: 'string', minLength: 1, description: 'Name of one of `backends`.' },
            label: {
              type: 'string',
              pattern: '^latchkey .{1,64}$',
              patternErrorMessage: 'a label that starts with "latchkey ", as no key id can',
              default: 'latchkey master key',
              description: 'Label of the key.',
            },
          },
          { required: ['backend'] },
        ),
      },
      { minProperties: 1, maxProperties: 1 },
    ),
    pollInterval: duration('How often a server looks for changes made by the CLI.', '250ms'),
  },
  { required: ['masterKey'] },
)

function text(description: string): Schema {
  return { type: 'string', minLength: 1, description }
}
