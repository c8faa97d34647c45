/** `backends`: key managers beside the embedded software keys. */
// SPDX-License-Identifier: Apache-2.0
import { duration, integer, object, path, type Schema } from './section.ts'

const pin = object(
  'Where to read the PIN of the user from.',
  {
    file: path('File, mode 0600; a line break at its end does not count.'),
    env: { type: 'string', minLength: 1, description: 'Name of an environment variable.' },
  },
  { minProperties: 1, maxProperties: 1 },
)

const token = object(
  'One token, named by its label, its serial number or its slot.',
  {
    label: { type: 'string', minLength: 1, description: 'Its label; it must be the only one.' },
    serial: { type: 'string', minLength: 1, description: 'Its serial number.' },
    slot: integer('Number of its slot. Some modules number slots anew.', {
      minimum: 0,
      maximum: 4_294_967_295,
    }),
    pin,
  },
  { required: ['pin'] },
)

export const backends: Schema = {
  type: 'array',
  default: [],
  description:
    'Key managers beside the embedded software keys, which are always there under the name software.',
  items: object(
    'One key manager.',
    {
      name: {
        type: 'string',
        pattern: '^[a-z0-9][a-z0-9-]{0,63}$',
        patternErrorMessage: '1 to 64 lower-case letters, digits and dashes, no dash first',
        description: 'What key stores call it.',
      },
      kind: {
        type: 'string',
        enum: ['pkcs11'],
        description: 'pkcs11: HSMs and whatever else has a PKCS#11 module.',
      },
      module: path('The PKCS#11 module of the vendor, a shared library.'),
      parameters: {
        type: 'string',
        minLength: 1,
        description:
          'Text for C_Initialize, as NSS needs it: where its database is. No other module wants it.',
      },
      environment: {
        type: 'array',
        items: {
          type: 'string',
          pattern: '^[A-Za-z_][A-Za-z0-9_]*=',
          patternErrorMessage: 'a line such as SOFTHSM2_CONF=/etc/softhsm/softhsm2.conf',
        },
        default: [],
        description:
          "Set for the module beside Latchkey's own environment, which it gets without the variables that hold PINs and passphrases.",
        examples: [['SOFTHSM2_CONF=/etc/softhsm/softhsm2.conf']],
      },
      tokens: {
        type: 'array',
        minItems: 1,
        maxItems: 10,
        items: token,
        description:
          'One token, or up to ten with the same keys: load is spread over those that work.',
      },
      sessions: object(
        'Processes that the module runs in, for each token and each worker; each has one session.',
        {
          min: integer('Always there.', { minimum: 1, maximum: 64, default: 1 }),
          max: integer('Started when operations have to wait.', {
            minimum: 1,
            maximum: 64,
            default: 4,
          }),
        },
        { default: {} },
      ),
      maxQueued: integer(
        'Operations that wait for each token; one more is answered with ThrottlingException.',
        { minimum: 1, maximum: 100_000, default: 256 },
      ),
      deadlines: object(
        'How long the module may take.',
        {
          operation: duration(
            'One operation, waiting included; then DependencyTimeoutException.',
            '150ms',
          ),
          start: duration('Loading the module, logging in and the self-test.', '20s'),
          stuck: duration(
            'After an operation that is past its deadline, the process is killed and another started.',
            '1s',
          ),
        },
        { default: {} },
      ),
      heartbeat: duration('An idle session is used this often, so that nothing drops it.', '20s'),
      iv: {
        type: 'string',
        enum: ['host', 'hsm-written', 'hsm-appended-12', 'hsm-appended-16', 'cloudhsm-gcm'],
        default: 'host',
        description:
          'How initialization vectors come about; docs/hsm/ says which HSM needs what, and `latchkey pkcs11 probe` finds out.',
      },
      keys: object(
        'How keys are found on the tokens.',
        {
          by: {
            type: 'string',
            enum: ['label', 'id'],
            default: 'label',
            description:
              'label: CKA_LABEL is the key id, behind `keyStores[].keyPrefix`. id: the key id is the hexadecimal CKA_ID.',
          },
          refresh: duration(
            'After this long, what is known of a key is looked up again in the background.',
            '60s',
          ),
        },
        { default: {} },
      ),
      healthKey: {
        type: 'string',
        minLength: 1,
        default: 'latchkey health',
        description:
          'Label of the key for health checks; made at the first use where there is none.',
      },
      verifyEveryEncrypt: {
        type: 'boolean',
        default: true,
        description:
          'Decrypt and compare what every Encrypt made, even when KMS does not ask for a CDIV.',
      },
      functionFailedIsBusy: {
        type: 'boolean',
        default: false,
        description:
          'CKR_FUNCTION_FAILED on Encrypt is answered with ThrottlingException: for AWS CloudHSM.',
      },
    },
    { required: ['name', 'kind', 'module', 'tokens'] },
  ),
}
