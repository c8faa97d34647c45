/** `backends`: key managers besides the embedded software keys. */
// SPDX-License-Identifier: Apache-2.0
import { converted, list, object, optional, plain } from '../setting.ts'
import { choice, duration, flag, integer, path, secret, text } from '../settings.ts'

/** Name of the embedded keys, which need no entry in `backends`. */
export const SOFTWARE = 'software'

const token = object('One token, selected by its label, its serial number or its slot.', {
  label: optional(text('Label of the token; it must be unique.')),
  serial: optional(text('Serial number of the token.')),
  slot: optional(
    integer('Number of the slot. Some modules renumber slots.', {
      minimum: 0,
      maximum: 4_294_967_295,
    }),
  ),
  pin: secret('Where to read the user PIN from.'),
})

/** Converts to the complete environment of the processes that load the module. */
const environment = converted(
  list(
    "Environment variables for the module, in addition to Latchkey's own environment without the variables that hold PINs and passphrases.",
    plain<string>({
      type: 'string',
      pattern: '^[A-Za-z_][A-Za-z0-9_]*=',
      patternErrorMessage: 'a line such as SOFTHSM2_CONF=/etc/softhsm/softhsm2.conf',
    }),
    { default: [], examples: [['SOFTHSM2_CONF=/etc/softhsm/softhsm2.conf']] },
  ),
  (lines, { environment }): Readonly<Record<string, string>> => {
    const own = lines.map((line) => {
      const at = line.indexOf('=')
      return [line.slice(0, at), line.slice(at + 1)] as const
    })
    return { ...environment, ...Object.fromEntries(own) }
  },
)

const modulePath = path("Path of the vendor's PKCS#11 module, a shared library.")
const module = {
  ...modulePath,
  // The dynamic linker resolves a bare name.
  convert: (raw: string, ...rest: [string, Parameters<typeof modulePath.convert>[2]]) =>
    raw.includes('/') ? modulePath.convert(raw, ...rest) : raw,
}

export const backends = list(
  'Key managers besides the embedded software keys, which always exist under the name software.',
  object('One key manager.', {
    name: text('Name by which key stores refer to it.', {
      pattern: '^[a-z0-9][a-z0-9-]{0,63}$',
      patternErrorMessage: '1 to 64 lower-case letters, digits and dashes, no dash first',
    }),
    kind: choice(['pkcs11'], 'pkcs11: HSMs and other key managers with a PKCS#11 module.'),
    module,
    parameters: optional(text('Text for C_Initialize. Only NSS needs it, to find its database.')),
    environment,
    tokens: list(
      'One token, or up to ten with the same keys. Load is spread over the tokens that work.',
      token,
      { minItems: 1, maxItems: 10 },
    ),
    sessions: object(
      'Worker processes that load the module, per token and per server process. Each has one session.',
      {
        min: integer('Number that always run.', { minimum: 1, maximum: 64, default: 1 }),
        max: integer('Maximum; more are started when operations have to wait.', {
          minimum: 1,
          maximum: 64,
          default: 4,
        }),
      },
    ),
    maxQueued: integer(
      'Operations that may wait for each token. Further ones are answered with ThrottlingException.',
      { minimum: 1, maximum: 100_000, default: 256 },
    ),
    deadlines: object('Time limits for the module.', {
      operation: duration(
        'Limit for one operation including its wait; then it is answered with DependencyTimeoutException.',
        '150ms',
        [1, 60_000],
      ),
      start: duration(
        'Limit for loading the module, logging in and the self-test.',
        '20s',
        [100, 600_000],
      ),
      stuck: duration(
        'How long an operation may overrun its deadline before its process is killed and replaced.',
        '1s',
        [10, 600_000],
      ),
    }),
    hedge: optional(
      object(
        'Try a slow operation on another token as well. For two tokens or more with the same keys.',
        {
          after: duration(
            'Time after which the operation is sent to the next token too; the first answer counts.',
            '30ms',
            [1, 60_000],
          ),
        },
      ),
    ),
    heartbeat: duration(
      'Interval at which an idle session is used, so that no network device drops it.',
      '20s',
      [100, 3_600_000],
    ),
    iv: choice(
      ['host', 'hsm-written', 'hsm-appended-12', 'hsm-appended-16', 'cloudhsm-gcm'],
      'How initialization vectors are generated. docs/hsm/ says which HSM needs which value; `latchkey pkcs11 probe` finds out.',
      'host',
    ),
    keys: object('How keys are found on the tokens.', {
      by: choice(
        ['label', 'id'],
        'label: CKA_LABEL is `keyStores[].keyPrefix` followed by the key id. id: the key id is CKA_ID in hexadecimal.',
        'label',
      ),
      refresh: duration(
        'Interval at which cached key attributes are read again in the background.',
        '60s',
        [100, 86_400_000],
      ),
    }),
    healthKey: text(
      'Label of the key for health checks, created at the first use if it does not exist.',
      { default: 'latchkey health' },
    ),
    verifyEveryEncrypt: flag(
      'Decrypt and compare the result of every Encrypt, even when KMS does not ask for a CDIV.',
      true,
    ),
    functionFailedIsBusy: flag(
      'Answer CKR_FUNCTION_FAILED on Encrypt with ThrottlingException. For AWS CloudHSM.',
      false,
    ),
  }),
  { default: [] },
)
