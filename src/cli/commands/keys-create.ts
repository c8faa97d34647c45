/** Implements `latchkey keys create` and `keys import`. */
// SPDX-License-Identifier: Apache-2.0
import { toCheckValue } from '../../core/check-value.ts'
import { toRemark } from '../../core/remark.ts'
import { Secret } from '../../core/secret.ts'
import type { Ceremony, KeySummary, NewKey } from '../../keys/administration.ts'
import {
  BACKEND_FLAG,
  type Command,
  type Context,
  KEY_STORE_FLAG,
  UsageError,
  keyIdOperand,
  stringFlag,
  stringsFlag,
} from '../../terminal/command.ts'
import { PLACE_FLAGS } from '../../terminal/contexts.ts'
import { hashFile, readPrivateFile } from '../../terminal/files.ts'
import { withAdministration } from '../with-administration.ts'
import { DATE_FLAGS, parseDates } from './keys-dates.ts'
import { describeKey } from './keys.ts'

const USAGE_FLAG = {
  usage: {
    type: 'string',
    value: 'USAGE',
    description:
      'Operations that the key may be used for: encrypt,decrypt; encrypt; decrypt; or none (default: encrypt,decrypt, which KMS requires).',
  },
} as const

export const keysCreate: Command = {
  operands: ['KEY_ID'],
  flags: { ...KEY_STORE_FLAG, ...BACKEND_FLAG, ...USAGE_FLAG, ...DATE_FLAGS, ...PLACE_FLAGS },
  examples: [
    'latchkey keys create payroll-2026',
    'latchkey keys create archive --key-store demo --usage decrypt',
    'latchkey keys create payroll-2026 --backend hsm',
    'latchkey keys create payroll-2027 --activate-at 2027-01-01 --deactivate-at 2028-01-01',
  ],
  run: (context) => create(context, {}),
}

export const keysImport: Command = {
  operands: ['KEY_ID'],
  flags: {
    'from-file': {
      type: 'string',
      value: 'FILE',
      description:
        'File with mode 0600 that contains the key: 32 bytes, raw or in hexadecimal or Base64; - for standard input.',
    },
    'check-value': {
      type: 'string',
      value: 'HEX',
      description:
        'Import the key only if it has this check value: the first three bytes of an all-zero block encrypted with the key, as HSMs and key ceremonies report it.',
    },
    ceremony: {
      type: 'string',
      value: 'FILE',
      description:
        'Record of the key ceremony, such as the signed minutes. Its SHA-256 and size are recorded with the import; the file itself is not.',
    },
    witness: {
      type: 'string',
      isRepeatable: true,
      value: 'NAME',
      description:
        'Name of a person who was present, recorded with the import. Repeat the flag for each person. Requires --ceremony.',
    },
    ...KEY_STORE_FLAG,
    ...BACKEND_FLAG,
    ...USAGE_FLAG,
    ...DATE_FLAGS,
    ...PLACE_FLAGS,
  },
  examples: [
    'latchkey keys import payroll-2019 --from-file ./payroll-2019.key',
    'latchkey keys import payroll-2019 --from-file ./payroll-2019.key --check-value 3f9a01',
    'latchkey keys import payroll-2019 --from-file ./payroll-2019.key --check-value 3f9a01 --ceremony ./minutes.pdf --witness "Ada Park" --witness "Jo Weiss"',
    'openssl rand 32 | latchkey keys import fresh --from-file -',
  ],
  async run(context) {
    const path = stringFlag(context, 'from-file')
    if (path === undefined) throw new UsageError('USAGE', '--from-file is missing')
    const material = parseMaterial(await readPrivateFile(path))
    checkValue(material, stringFlag(context, 'check-value'))
    const ceremony = await readCeremony(context)
    await create(context, { material, ...(ceremony && { ceremony }) })
  },
}

/** @throws UsageError if the key does not have the expected check value */
function checkValue(material: Secret<Buffer>, expected: string | undefined): void {
  if (expected === undefined) return
  if (!/^[0-9a-f]{6}$/i.test(expected)) {
    throw new UsageError('INPUT_INVALID', '--check-value: expected six hexadecimal digits')
  }
  const found = toCheckValue(material.reveal())
  if (found === expected.toLowerCase()) return
  throw new UsageError(
    'INPUT_INVALID',
    `expected a key with the check value ${expected}, found ${found}; nothing was imported`,
  )
}

/** Maximum number of witnesses for one event. */
const MAX_WITNESSES = 20
const MAX_NAME_LENGTH = 200

/** @throws UsageError or a system error */
async function readCeremony(context: Context): Promise<Ceremony | undefined> {
  const path = stringFlag(context, 'ceremony')
  const witnesses = stringsFlag(context, 'witness').map(toRemark)
  if (path === undefined) {
    if (witnesses.length === 0) return undefined
    throw new UsageError('USAGE', '--witness requires --ceremony')
  }
  const isName = (name: string) => name !== '' && name.length <= MAX_NAME_LENGTH
  if (witnesses.length > MAX_WITNESSES || !witnesses.every(isName)) {
    throw new UsageError(
      'INPUT_INVALID',
      `--witness: expected at most ${String(MAX_WITNESSES)} names of 1 to ${String(MAX_NAME_LENGTH)} characters`,
    )
  }
  const { sha256, bytes } = await hashFile(path)
  if (bytes === 0) throw new UsageError('INPUT_INVALID', `--ceremony: ${path} is empty`)
  return { sha256, bytes, witnesses }
}

async function create(
  context: Context,
  origin: Pick<NewKey, 'material' | 'ceremony'>,
): Promise<void> {
  const keyId = keyIdOperand(context)
  const usage = parseUsage(stringFlag(context, 'usage') ?? 'encrypt,decrypt')
  const dates = parseDates(context)
  const key: NewKey = { keyId, ...usage, ...(dates && { dates }), ...origin }
  const created: KeySummary = await withAdministration(context, ({ keys }, keyStore) =>
    keys(keyStore).createKey(key),
  )
  context.output.result(`created ${describeKey(created)}`, created)
}

function parseUsage(text: string): Pick<NewKey, 'canEncrypt' | 'canDecrypt'> {
  const parts = text === 'none' ? [] : text.split(',')
  if (!parts.every((part) => part === 'encrypt' || part === 'decrypt')) {
    throw new UsageError(
      'USAGE',
      '--usage: expected one of: encrypt,decrypt; encrypt; decrypt; none',
    )
  }
  return { canEncrypt: parts.includes('encrypt'), canDecrypt: parts.includes('decrypt') }
}

/** Accepts raw bytes of the right length, hex or Base64. The input buffer is wiped. */
function parseMaterial(bytes: Buffer): Secret<Buffer> {
  if (bytes.length === 32) return new Secret(bytes)
  const text = bytes.toString('latin1').trim()
  bytes.fill(0)
  if (/^[0-9a-fA-F]{64}$/.test(text)) return new Secret(Buffer.from(text, 'hex'))
  if (/^[A-Za-z0-9+/]{43}=$/.test(text)) return new Secret(Buffer.from(text, 'base64'))
  throw new UsageError(
    'INPUT_INVALID',
    'expected key material as 32 raw bytes, 64 hexadecimal digits or 44 Base64 characters',
  )
}
