/** `admin`: the listener of operators: kill switch, status, metrics. */
// SPDX-License-Identifier: Apache-2.0
import { integer, object, path, type Schema } from './section.ts'

const role: Schema = {
  type: 'string',
  enum: ['viewer', 'operator', 'admin'],
  description:
    "viewer reads; operator also stops access, renews dead man's switches and runs drills; admin also restores.",
}

export const admin = object(
  'The admin listener: kill switch, status and metrics for operators. Leave it out for none; the command line works without it.',
  {
    host: {
      type: 'string',
      minLength: 1,
      default: '127.0.0.1',
      description: 'Address to bind. Any other than loopback needs admin.tls.',
    },
    port: integer('Port to bind; 0 takes any free one.', { minimum: 0, maximum: 65_535 }),
    tls: object(
      'The certificate of the admin listener. It may be left out on loopback only.',
      {
        certificate: path('PEM file: the certificate first, then its intermediates.'),
        privateKey: path('PEM file of its private key.'),
      },
      { required: ['certificate', 'privateKey'] },
    ),
    clientCertificates: object(
      'Who may call with a client certificate (mTLS), and as what. Needs admin.tls.',
      {
        ca: path('PEM bundle of the authorities that such a certificate must chain to.'),
        subjects: {
          type: 'array',
          minItems: 1,
          description: 'Subject common names, compared whole, and the role of each.',
          items: object(
            'One person or machine.',
            {
              commonName: {
                type: 'string',
                pattern: '^[\\x21-\\x7e]([\\x20-\\x7e]{0,126}[\\x21-\\x7e])?$',
                patternErrorMessage: '1 to 128 printable ASCII characters',
                description: 'Subject common name of the certificate.',
              },
              role,
            },
            { required: ['commonName', 'role'] },
          ),
        },
      },
      { required: ['ca', 'subjects'] },
    ),
    tokens: {
      type: 'array',
      minItems: 1,
      description:
        'Who may call with a bearer token, and as what. Only hashes stand here; `latchkey admin token` makes a token and its hash.',
      items: object(
        'One token.',
        {
          name: {
            type: 'string',
            pattern: '^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$',
            patternErrorMessage:
              '1 to 64 letters, digits, periods, underscores, dashes and @, a letter or digit first',
            description: 'Who holds it; the name that is recorded with what it does.',
          },
          role,
          sha256: {
            type: 'string',
            pattern: '^[0-9a-f]{64}$',
            patternErrorMessage: 'a SHA-256 hash: 64 hexadecimal digits in lower case',
            description: 'SHA-256 of the token.',
          },
        },
        { required: ['name', 'role', 'sha256'] },
      ),
    },
  },
  { required: ['port'] },
)
