/** Implements `latchkey credentials create`. */
// SPDX-License-Identifier: Apache-2.0
import { type Command, KEY_STORE_FLAG, UsageError, stringFlag } from '../../terminal/command.ts'
import { PLACE_FLAGS } from '../../terminal/contexts.ts'
import {
  parseConsoleFile,
  readPrivateFile,
  toConsoleFile,
  writePrivateFile,
} from '../../terminal/files.ts'
import { parseFuture } from '../../terminal/flags/time.ts'
import { withAdministration } from '../with-administration.ts'

export const credentialsCreate: Command = {
  flags: {
    expires: {
      type: 'string',
      value: 'WHEN',
      description:
        'Expiry time: a duration from now such as 90d or 12h, or a date such as 2027-01-31 (default: none).',
    },
    output: {
      type: 'string',
      short: 'o',
      value: 'FILE',
      description: 'Write the JSON to a new file, mode 0600, instead of printing it.',
    },
    'from-file': {
      type: 'string',
      value: 'FILE',
      description:
        'Existing KMS console file, mode 0600, from which to import the access key id and secret; - for standard input.',
    },
    ...KEY_STORE_FLAG,
    ...PLACE_FLAGS,
  },
  examples: [
    'latchkey credentials create --output kms-console.json',
    'latchkey credentials create --key-store demo --expires 90d',
    'latchkey credentials create --from-file other-proxy.json',
  ],
  async run(context) {
    const expires = stringFlag(context, 'expires')
    const source = stringFlag(context, 'from-file')
    const target = stringFlag(context, 'output')
    const options = {
      ...(expires === undefined ? {} : { expiresAt: parseFuture(expires) }),
      ...(source === undefined
        ? {}
        : { pair: parseConsoleFile((await readPrivateFile(source)).toString('utf8')) }),
    }
    await withAdministration(context, async ({ credentials }, keyStore, found) => {
      const credential = await credentials.create(keyStore, options)
      const file = toConsoleFile(found, credential)
      const text = `${JSON.stringify(file, undefined, 2)}\n`
      if (target === undefined) {
        context.output.result(text, file)
        return
      }
      try {
        await writePrivateFile(target, text)
      } catch (cause) {
        // Revoke the credential, which is useless because its secret was never shown.
        await credentials.revoke(credential.accessKeyId)
        if (cause instanceof UsageError) throw cause
        throw new UsageError('INPUT_INVALID', `cannot write ${target}`, { cause })
      }
      context.output.result(
        `created ${credential.accessKeyId}; the JSON file for the KMS console is ${target}`,
        { accessKeyId: credential.accessKeyId, file: target },
      )
    })
  },
}
