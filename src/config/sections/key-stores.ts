/** Defines the section `keyStores`: the external key stores that KMS knows. */
// SPDX-License-Identifier: Apache-2.0
import { parseKeyStoreName } from '../../core/ids.ts'
import { converted, list, object, optional, plain } from '../setting.ts'
import { duration, integer, regionNames, text } from '../settings.ts'

const name = converted(
  text('Name of the key store in Latchkey: up to 64 lower-case letters, digits and hyphens.', {
    pattern: '^[a-z0-9][a-z0-9-]{0,63}$',
    patternErrorMessage:
      '1 to 64 lower-case letters, digits and hyphens, not starting with a hyphen',
  }),
  (value) => {
    const parsed = parseKeyStoreName(value)
    if (parsed === undefined) throw new TypeError('the schema accepted an invalid key store name')
    return parsed
  },
)

const quota = converted(
  object(
    'Request quota. Requests that exceed it get ThrottlingException. Health checks do not count. Omit this section for no limit.',
    {
      requestsPerSecond: integer(
        'Sustained rate. The default quota of KMS is 1,800 requests per second.',
        {
          minimum: 1,
          maximum: 1_000_000,
        },
      ),
      burst: optional(
        integer(
          'Number of requests that may arrive at once. Default: the value of `requestsPerSecond`.',
          {
            minimum: 1,
            maximum: 1_000_000,
          },
        ),
      ),
    },
  ),
  ({ requestsPerSecond, burst = requestsPerSecond }) => ({ requestsPerSecond, burst }),
)

export const keyStores = list(
  'External key stores. Each has its own keys, credentials and quota.',
  object('One external key store.', {
    name,
    prefix: text(
      'Part of XksProxyUriPath that precedes /kms/xks/v1, with a leading slash. The complete XksProxyUriPath may have at most 128 characters.',
      {
        pattern: '^(/[A-Za-z0-9_-]+)*$',
        patternErrorMessage:
          'segments of letters, digits, hyphens and underscores, each with a leading slash, such as /demo',
        default: '',
        examples: ['/demo'],
      },
    ),
    backend: text(
      'Key manager that holds the keys: `software`, or the name of an entry in `backends`.',
      {
        default: 'software',
      },
    ),
    keyPrefix: text(
      'Text that precedes the key id in the labels of keys on a token. Key stores with different prefixes can share a token.',
      {
        pattern: '^[A-Za-z0-9._:/-]{0,64}$',
        patternErrorMessage: 'up to 64 letters, digits and the characters . _ : / -',
        default: '',
        examples: ['payroll/'],
      },
    ),
    accept: list(
      "Other proxies whose ciphertexts Latchkey also decrypts, if they were created with the same keys. `aws-sample` is AWS's sample proxy; it requires a backend of kind pkcs11.",
      plain<'aws-sample'>({ type: 'string', enum: ['aws-sample'] }),
      { default: [], examples: [['aws-sample']] },
    ),
    regions: optional(regionNames('AWS regions from which KMS may call. Default: all regions.')),
    quota: optional(quota),
    rotateEvery: optional(
      duration(
        'Age at which Latchkey replaces the current version of a software key with a new version. Older versions still decrypt. Default: never; only `latchkey keys rotate` rotates keys.',
        '2160h',
        [3_600_000, 315_360_000_000],
      ),
    ),
  }),
  { minItems: 1 },
)
