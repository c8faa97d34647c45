/**
 * Defines the section `admin`: the listener for operators, with kill switch, status and metrics.
 */
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
  "Role to grant. viewer: read status and metrics. auditor: everything that viewer allows, plus reading the files of the audit logs. operator: everything that viewer allows, plus stopping access, renewing dead man's switches and running drills. custodian: everything that viewer allows, plus managing keys, credentials and policies. admin: everything that the other roles allow, plus restoring access and managing operators.",
)

const keyStores = optional(
  texts(
    'Key stores to which the role is limited. Default: all key stores, and calls that concern no particular key store.',
    'payroll',
  ),
)

const person = optional(
  text(
    'Person who holds the certificate or token. If a person has several entries, set the same value in each, so that they count as one person when a restore needs two. The value may be the name of an operating system user. Default: the name of the entry.',
    {
      pattern: '^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$',
      patternErrorMessage:
        '1 to 64 letters, digits, periods, underscores, hyphens and @, starting with a letter or digit',
    },
  ),
)

const subjects = list(
  'Accepted subject common names and their roles. The names must match exactly.',
  object('One person or machine.', {
    commonName: text('Subject common name in the certificate.', {
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
  'Bearer tokens that the listener accepts, and their roles. The file contains only the hash of each token; `latchkey admin token` creates a token and its hash. Tokens in the control store, which `latchkey admin tokens create` creates, need no entry here.',
  object('One token.', {
    name: text('Name of the token holder. It is recorded with every action.', {
      pattern: '^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$',
      patternErrorMessage:
        '1 to 64 letters, digits, periods, underscores, hyphens and @, starting with a letter or digit',
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
  'OpenID Connect identity provider whose tokens the listener accepts. `latchkey login` obtains a token through the device flow.',
  {
    issuer: webAddress(
      'URL of the issuer, exactly as it appears in tokens. It must be an https URL, except on loopback.',
      {
        pattern: '^(https://|http://(localhost|127\\.0\\.0\\.1)[:/]).+$',
        patternErrorMessage: 'an https:// address',
      },
    ),
    audience: text('Audience that a token must be issued for, such as the client id.'),
    clientId: optional(
      text(
        'Client id that `latchkey login` uses. It must belong to a public client. Default: the value of `audience`.',
      ),
    ),
    scope: text('Scopes that `latchkey login` requests.', { default: 'openid' }),
    ca: optional(
      file(
        "PEM bundle of the authorities that the issuer's certificate must chain to. Default: the public authorities.",
      ),
    ),
    nameClaim: text(
      'Claim that contains the name of the person, which is recorded as the operator. Choose a claim that people cannot change themselves.',
      { default: 'sub' },
    ),
    rolesClaim: text("Claim that lists the person's groups. `roles` maps them to roles.", {
      default: 'groups',
    }),
    roles: list(
      'Values of `rolesClaim`, and the role that each value grants. If the store has an operator of the same name, the person also has the roles of that operator.',
      object('One value of `rolesClaim`, and the role that it grants.', {
        value: text('Value to look for in `rolesClaim`. It must match exactly.'),
        role,
        keyStores,
      }),
    ),
    clockSkew: duration(
      "Maximum difference between the issuer's clock and this host's clock.",
      '30s',
      [0, 300_000],
    ),
  },
)

export const admin = converted(
  object(
    'The admin listener, which gives operators the kill switch, status and metrics over HTTP. Omit this section to disable the listener; the command line works without it.',
    {
      host: text('Address to bind. Any address other than loopback requires `admin.tls`.', {
        default: '127.0.0.1',
      }),
      port: port('Port to bind; 0 selects a free port.'),
      tls: optional(
        serverCertificate(
          'Certificate of the admin listener. It is required unless the address is loopback.',
        ),
      ),
      names: optional(
        texts(
          "Additional host names that requests may use, such as the name of a reverse proxy. IP addresses, localhost and the names in the listener's certificate need no entry. Requests for any other name are refused.",
          'latchkey.example.com',
        ),
      ),
      clientCertificates: optional(
        object(
          'Client certificates (mTLS) that the listener accepts, and their roles. Requires `admin.tls`.',
          {
            ca: file('PEM bundle of the authorities that client certificates must chain to.'),
            subjects,
          },
        ),
      ),
      tokens: optional(tokens),
      oidc: optional(oidc),
    },
  ),
  (admin) => ({ ...admin, tokens: admin.tokens ?? [] }),
)
