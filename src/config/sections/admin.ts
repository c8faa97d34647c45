/** `admin`: the listener for operators, with kill switch, status and metrics. */
// SPDX-License-Identifier: Apache-2.0
import { ROLES } from '../../core/role.ts'
import { converted, list, object, optional } from '../setting.ts'
import {
  choice,
  duration,
  file,
  port,
  serverCertificate,
  text,
  texts,
  webAddress,
} from '../settings.ts'

const role = choice(
  ROLES,
  "viewer reads; auditor also reads the files of the audit logs; operator also stops access, renews dead man's switches and runs drills; custodian reads and manages keys, credentials and policies; admin does all of this and restores.",
)

const keyStores = optional(
  texts(
    'Key stores that the role is limited to. Default: all, including calls that concern no key store in particular.',
    'payroll',
  ),
)

const person = optional(
  text(
    'Person who holds it. Set it for a person with several entries: they count as one person when a restore needs two. May be the name of a user of the operating system. Default: the name itself.',
    {
      pattern: '^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$',
      patternErrorMessage:
        '1 to 64 letters, digits, periods, underscores, dashes and @, a letter or digit first',
    },
  ),
)

const subjects = list(
  'Subject common names, which must match exactly, and their roles.',
  object('One person or machine.', {
    commonName: text('Subject common name of the certificate.', {
      pattern: '^[\\x21-\\x7e]([\\x20-\\x7e]{0,126}[\\x21-\\x7e])?$',
      patternErrorMessage: '1 to 128 printable ASCII characters',
    }),
    role,
    keyStores,
    person,
  }),
  { minItems: 1 },
)

const tokens = list(
  'Bearer tokens that the listener accepts, and their roles. The file holds only hashes; `latchkey admin token` creates a token and its hash. Tokens in the control store need no entry: `latchkey admin tokens create`.',
  object('One token.', {
    name: text('Name of the holder, recorded with every action.', {
      pattern: '^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$',
      patternErrorMessage:
        '1 to 64 letters, digits, periods, underscores, dashes and @, a letter or digit first',
    }),
    role,
    keyStores,
    person,
    sha256: text('SHA-256 of the bearer token, in hex.', {
      pattern: '^[0-9a-f]{64}$',
      patternErrorMessage: 'a SHA-256 hash: 64 hexadecimal digits in lower case',
    }),
  }),
  { minItems: 1 },
)

const oidc = object(
  'Identity provider (OpenID Connect) whose tokens the listener accepts. `latchkey login` gets one with the device flow.',
  {
    issuer: webAddress(
      'Address of the issuer, exactly as in its tokens. HTTPS, except on loopback.',
      {
        pattern: '^(https://|http://(localhost|127\\.0\\.0\\.1)[:/]).+$',
        patternErrorMessage: 'an https:// address',
      },
    ),
    audience: text('Audience that a token must have, such as the client id.'),
    clientId: optional(
      text('Client id that `latchkey login` uses: a public client. Default: the audience.'),
    ),
    scope: text('Scopes that `latchkey login` asks for.', { default: 'openid' }),
    ca: optional(file('PEM bundle of the authorities to trust for the issuer.')),
    nameClaim: text(
      'Claim that names the person, who is recorded as the operator. Must be one that people cannot change themselves.',
      { default: 'sub' },
    ),
    rolesClaim: text('Claim whose values give roles.', { default: 'groups' }),
    roles: list(
      'Values of that claim, and their roles. An operator of the store with the same name adds roles.',
      object('One value.', {
        value: text('Value that the claim must match exactly.'),
        role,
        keyStores,
      }),
    ),
    clockSkew: duration(
      'How much the clocks of the issuer and of this host may differ.',
      '30s',
      [0, 300_000],
    ),
  },
)

export const admin = converted(
  object(
    'The admin listener: kill switch, status and metrics for operators. Omit it to disable it; the command line works without it.',
    {
      host: text('Address to bind. An address other than loopback requires admin.tls.', {
        default: '127.0.0.1',
      }),
      port: port('Port to bind; 0 selects a free port.'),
      tls: optional(
        serverCertificate('Certificate of the admin listener. Optional on loopback only.'),
      ),
      names: optional(
        texts(
          'Further host names that requests may use, such as the name of a proxy in front. Addresses, localhost and the names of its certificate need no entry; a request for any other name is refused.',
          'latchkey.example.com',
        ),
      ),
      clientCertificates: optional(
        object('Client certificates (mTLS) that may call, and their roles. Requires admin.tls.', {
          ca: file('PEM bundle of the authorities that the certificate must chain to.'),
          subjects,
        }),
      ),
      tokens: optional(tokens),
      oidc: optional(oidc),
    },
  ),
  (admin) => ({ ...admin, tokens: admin.tokens ?? [] }),
)
