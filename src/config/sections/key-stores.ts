/** `keyStores`: the external key stores that KMS knows. */
// SPDX-License-Identifier: Apache-2.0
import { parseKeyStoreName } from '../../core/ids.ts'
import { converted, list, object, optional, plain } from '../setting.ts'
import { integer, regionNames, text } from '../settings.ts'

const name = converted(
  text('Our own name for it: up to 64 lower-case letters, digits and dashes.', {
    pattern: '^[a-z0-9][a-z0-9-]{0,63}$',
    patternErrorMessage: '1 to 64 lower-case letters, digits and dashes, no dash first',
  }),
  (value) => {
    const parsed = parseKeyStoreName(value)
    if (parsed === undefined) throw new TypeError('the schema accepts a wrong key store name')
    return parsed
  },
)

const quota = converted(
  object(
    'Requests beyond it are answered with ThrottlingException; health checks are not counted. Leave it out for none.',
    {
      requestsPerSecond: integer('In the long run. The default of KMS is 1,800.', {
        minimum: 1,
        maximum: 1_000_000,
      }),
      burst: optional(
        integer('At once. The same as requestsPerSecond when it is left out.', {
          minimum: 1,
          maximum: 1_000_000,
        }),
      ),
    },
  ),
  ({ requestsPerSecond, burst = requestsPerSecond }) => ({ requestsPerSecond, burst }),
)

export const keyStores = list(
  'External key stores. Each has keys, credentials and a quota of its own.',
  object('One external key store.', {
    name,
    prefix: text(
      'Path before /kms/xks/v1, with its leading slash. With it, XksProxyUriPath has at most 128 characters.',
      {
        pattern: '^(/[A-Za-z0-9_-]+)*$',
        patternErrorMessage:
          'a slash, then letters, digits, dashes and underscores, without a slash at the end',
        default: '',
        examples: ['/demo'],
      },
    ),
    backend: text('Where its keys are: `software`, or the name of one of `backends`.', {
      default: 'software',
    }),
    keyPrefix: text(
      'Put before a key id to make the label of its key on a token, so that key stores can share one and have keys of their own.',
      {
        pattern: '^[A-Za-z0-9._:/-]{0,64}$',
        patternErrorMessage: 'up to 64 letters, digits and . _ : / -',
        default: '',
        examples: ['payroll/'],
      },
    ),
    accept: list(
      "Also decrypt what another proxy encrypted with the same keys. `aws-sample` is AWS's sample proxy, and needs a backend of kind pkcs11.",
      plain<'aws-sample'>({ type: 'string', enum: ['aws-sample'] }),
      { default: [], examples: [['aws-sample']] },
    ),
    regions: optional(regionNames('AWS regions whose KMS may call. Leave it out for any.')),
    quota: optional(quota),
  }),
  { minItems: 1 },
)
