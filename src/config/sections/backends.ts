/** Defines the section `backends`: key managers besides the embedded software keys. */
// SPDX-License-Identifier: Apache-2.0
import { converted, list, object, optional, plain } from '../setting.ts'
import { choice, duration, flag, integer, path, secret, text } from '../settings.ts'

/** Name of the embedded keys, which need no entry in `backends`. */
export const SOFTWARE = 'software'

const token = object('One token, selected by its label, serial number or slot.', {
  label: optional(text('Label of the token. No other token may have the same label.')),
  serial: optional(text('Serial number of the token.')),
  slot: optional(
    integer(
      'Slot number of the token. Some modules renumber their slots, so prefer the label or serial number.',
      {
        minimum: 0,
        maximum: 4_294_967_295,
      },
    ),
  ),
  pin: secret('Source of the user PIN.'),
})

/** Converts the list to the complete environment of the processes that load the module. */
const environment = converted(
  list(
    "Additional environment variables for the module. The module also gets Latchkey's own environment, except for the variables that contain PINs and passphrases.",
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

const modulePath = path("Path of the vendor's PKCS#11 module (a shared library).")
const module = {
  ...modulePath,
  // Leave a bare name unchanged, because the dynamic linker resolves it.
  convert: (raw: string, ...rest: [string, Parameters<typeof modulePath.convert>[2]]) =>
    raw.includes('/') ? modulePath.convert(raw, ...rest) : raw,
}

export const backends = list(
  'Key managers other than the embedded software keys. The software keys are always available under the name `software`.',
  object('One key manager.', {
    name: text('Name by which key stores refer to this key manager.', {
      pattern: '^[a-z0-9][a-z0-9-]{0,63}$',
      patternErrorMessage:
        '1 to 64 lower-case letters, digits and hyphens, not starting with a hyphen',
    }),
    kind: choice(
      ['pkcs11'],
      'Type of key manager. pkcs11: an HSM or another key manager that has a PKCS#11 module.',
    ),
    module,
    parameters: optional(
      text('Parameter string for C_Initialize. Only NSS requires one, to find its database.'),
    ),
    environment,
    tokens: list(
      'One token, or up to ten tokens that hold the same keys. Latchkey distributes operations over the available tokens.',
      token,
      { minItems: 1, maxItems: 10 },
    ),
    sessions: object(
      'Number of worker processes that load the module, for each token and each server process. Each worker process has one session.',
      {
        min: integer('Minimum number of worker processes. This many always run.', {
          minimum: 1,
          maximum: 64,
          default: 1,
        }),
        max: integer(
          'Maximum number of worker processes. When operations have to wait, Latchkey starts more, up to this number.',
          {
            minimum: 1,
            maximum: 64,
            default: 4,
          },
        ),
      },
    ),
    maxQueued: integer(
      'Maximum number of operations that may wait for each token. Further requests get ThrottlingException.',
      { minimum: 1, maximum: 100_000, default: 256 },
    ),
    deadlines: object('Time limits for calls to the module.', {
      operation: duration(
        'Time limit for one operation, including its time in the queue. A request that exceeds it gets DependencyTimeoutException.',
        '150ms',
        [1, 60_000],
      ),
      start: duration(
        'Time limit for loading the module, logging in and the self-test.',
        '20s',
        [100, 600_000],
      ),
      stuck: duration(
        'How long an operation may overrun its deadline before Latchkey kills and replaces the worker process.',
        '1s',
        [10, 600_000],
      ),
    }),
    hedge: optional(
      object(
        'Hedging: send a slow operation to a second token as well. Requires at least two tokens that hold the same keys.',
        {
          after: duration(
            'Time after which a pending operation is also sent to the next token. Latchkey uses the first response.',
            '30ms',
            [1, 60_000],
          ),
        },
      ),
    ),
    heartbeat: duration(
      'Interval at which Latchkey uses each idle session, so that no network device drops its connection.',
      '20s',
      [100, 3_600_000],
    ),
    iv: choice(
      ['host', 'hsm-written', 'hsm-appended-12', 'hsm-appended-16', 'cloudhsm-gcm'],
      'How initialization vectors are generated. docs/hsm/ lists the value for each HSM; `latchkey pkcs11 probe` detects it.',
      'host',
    ),
    keys: object('How Latchkey finds keys on the tokens.', {
      by: choice(
        ['label', 'id'],
        'Attribute that identifies a key. label: CKA_LABEL is `keyStores[].keyPrefix` followed by the key id. id: CKA_ID, in hexadecimal, is the key id.',
        'label',
      ),
      refresh: duration(
        'Interval at which Latchkey refreshes cached key attributes in the background.',
        '60s',
        [100, 86_400_000],
      ),
    }),
    healthKey: text(
      'Label of the key that health checks use. If the key does not exist, the first health check creates it.',
      { default: 'latchkey health' },
    ),
    verifyEveryEncrypt: flag(
      'Decrypt the result of every Encrypt and compare it with the plaintext, even if KMS does not ask for a CDIV.',
      true,
    ),
    functionFailedIsBusy: flag(
      'Report CKR_FUNCTION_FAILED on Encrypt as ThrottlingException. Enable it for AWS CloudHSM, which returns this code when it is busy.',
      false,
    ),
  }),
  { default: [] },
)
