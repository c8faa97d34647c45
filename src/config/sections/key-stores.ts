/** `keyStores`: the external key stores that KMS knows. */
// SPDX-License-Identifier: Apache-2.0
import { integer, object, regionNames, type Schema } from './section.ts'

export const keyStores: Schema = {
  type: 'array',
  minItems: 1,
  description: 'External key stores. Each has keys, credentials and a quota of its own.',
  items: object(
    'One external key store.',
    {
      name: {
        type: 'string',
        pattern: '^[a-z0-9][a-z0-9-]{0,63}$',
        patternErrorMessage: '1 to 64 lower-case letters, digits and dashes, no dash first',
        description: 'Our own name for it: up to 64 lower-case letters, digits and dashes.',
      },
      prefix: {
        type: 'string',
        pattern: '^(/[A-Za-z0-9_-]+)*$',
        patternErrorMessage:
          'a slash, then letters, digits, dashes and underscores, without a slash at the end',
        default: '',
        description:
          'Path before /kms/xks/v1, with its leading slash. With it, XksProxyUriPath has at most 128 characters.',
        examples: ['/demo'],
      },
      backend: {
        type: 'string',
        minLength: 1,
        default: 'software',
        description: 'Where its keys are: `software`, or the name of one of `backends`.',
      },
      keyPrefix: {
        type: 'string',
        pattern: '^[A-Za-z0-9._:/-]{0,64}$',
        patternErrorMessage: 'up to 64 letters, digits and . _ : / -',
        default: '',
        description:
          'Put before a key id to make the label of its key on a token, so that key stores can share one and have keys of their own.',
        examples: ['payroll/'],
      },
      accept: {
        type: 'array',
        items: { type: 'string', enum: ['aws-sample'] },
        default: [],
        description:
          "Also decrypt what another proxy encrypted with the same keys. `aws-sample` is AWS's sample proxy, and needs a backend of kind pkcs11.",
        examples: [['aws-sample']],
      },
      regions: regionNames('AWS regions whose KMS may call. Leave it out for any.'),
      quota: object(
        'Requests beyond it are answered with ThrottlingException; health checks are not counted. Leave it out for none.',
        {
          requestsPerSecond: integer('In the long run. The default of KMS is 1,800.', {
            minimum: 1,
            maximum: 1_000_000,
          }),
          burst: integer('At once. The same as requestsPerSecond when it is left out.', {
            minimum: 1,
            maximum: 1_000_000,
          }),
        },
        { required: ['requestsPerSecond'] },
      ),
    },
    { required: ['name'] },
  ),
}
