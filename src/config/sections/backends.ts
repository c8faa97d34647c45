/** `backends`: key managers beside the embedded software keys. */
// SPDX-License-Identifier: Apache-2.0
import { converted, list, object, optional, plain } from '../setting.ts'
import { choice, duration, flag, integer, path, secret, text } from '../settings.ts'

/** The embedded keys, which need no entry in `backends`. */
export const SOFTWARE = 'software'

const token = object('One token, named by its label, its serial number or its slot.', {
  label: optional(text('Its label; it must be the only one.')),
  serial: optional(text('Its serial number.')),
  slot: optional(
    integer('Number of its slot. Some modules number slots anew.', {
      minimum: 0,
      maximum: 4_294_967_295,
    }),
  ),
  pin: secret('Where to read the PIN of the user from.'),
})

/** The whole environment of the processes that the module runs in. */
const environment = converted(
  list(
    "Set for the module beside Latchkey's own environment, which it gets without the variables that hold PINs and passphrases.",
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

const modulePath = path('The PKCS#11 module of the vendor, a shared library.')
const module = {
  ...modulePath,
  // The dynamic linker finds a bare name.
  convert: (raw: string, ...rest: [string, Parameters<typeof modulePath.convert>[2]]) =>
    raw.includes('/') ? modulePath.convert(raw, ...rest) : raw,
}

export const backends = list(
  'Key managers beside the embedded software keys, which are always there under the name software.',
  object('One key manager.', {
    name: text('What key stores call it.', {
      pattern: '^[a-z0-9][a-z0-9-]{0,63}$',
      patternErrorMessage: '1 to 64 lower-case letters, digits and dashes, no dash first',
    }),
    kind: choice(['pkcs11'], 'pkcs11: HSMs and whatever else has a PKCS#11 module.'),
    module,
    parameters: optional(
      text(
        'Text for C_Initialize, as NSS needs it: where its database is. No other module wants it.',
      ),
    ),
    environment,
    tokens: list(
      'One token, or up to ten with the same keys: load is spread over those that work.',
      token,
      { minItems: 1, maxItems: 10 },
    ),
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
    ),
    maxQueued: integer(
      'Operations that wait for each token; one more is answered with ThrottlingException.',
      { minimum: 1, maximum: 100_000, default: 256 },
    ),
    deadlines: object('How long the module may take.', {
      operation: duration(
        'One operation, waiting included; then DependencyTimeoutException.',
        '150ms',
        [1, 60_000],
      ),
      start: duration('Loading the module, logging in and the self-test.', '20s', [100, 600_000]),
      stuck: duration(
        'After an operation that is past its deadline, the process is killed and another started.',
        '1s',
        [10, 600_000],
      ),
    }),
    heartbeat: duration(
      'An idle session is used this often, so that nothing drops it.',
      '20s',
      [100, 3_600_000],
    ),
    iv: choice(
      ['host', 'hsm-written', 'hsm-appended-12', 'hsm-appended-16', 'cloudhsm-gcm'],
      'How initialization vectors come about; docs/hsm/ says which HSM needs what, and `latchkey pkcs11 probe` finds out.',
      'host',
    ),
    keys: object('How keys are found on the tokens.', {
      by: choice(
        ['label', 'id'],
        'label: CKA_LABEL is the key id, behind `keyStores[].keyPrefix`. id: the key id is the hexadecimal CKA_ID.',
        'label',
      ),
      refresh: duration(
        'After this long, what is known of a key is looked up again in the background.',
        '60s',
        [100, 86_400_000],
      ),
    }),
    healthKey: text(
      'Label of the key for health checks; made at the first use where there is none.',
      { default: 'latchkey health' },
    ),
    verifyEveryEncrypt: flag(
      'Decrypt and compare what every Encrypt made, even when KMS does not ask for a CDIV.',
      true,
    ),
    functionFailedIsBusy: flag(
      'CKR_FUNCTION_FAILED on Encrypt is answered with ThrottlingException: for AWS CloudHSM.',
      false,
    ),
  }),
  { default: [] },
)
