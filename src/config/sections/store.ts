/** `store`: where software keys and credentials are kept. */
// SPDX-License-Identifier: Apache-2.0
import { duration, object, path } from './section.ts'

export const store = object(
  'The embedded store of keys and credentials.',
  {
    path: path('SQLite database file, made by `latchkey init`.'),
    masterKey: object(
      'What opens the store: a file of 32 random bytes, or a passphrase. Back it up apart from the store.',
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
      },
      { minProperties: 1, maxProperties: 1 },
    ),
    pollInterval: duration('How often a server looks for changes made by the CLI.', '250ms'),
  },
  { required: ['path', 'masterKey'] },
)
