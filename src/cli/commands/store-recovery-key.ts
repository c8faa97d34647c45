/**
 * Implements `latchkey store recovery-key`, and reads the recovery key of an escrow from a file or
 * from its parts.
 */
// SPDX-License-Identifier: Apache-2.0
import { createPrivateKey, type KeyObject } from 'node:crypto'
import { type Command, type Context, stringFlag, UsageError } from '../../terminal/command.ts'
import { readPrivateFile, writeNewFile } from '../../terminal/files.ts'
import { countFlag } from '../../terminal/flags/time.ts'

const MOST_PARTS = 255

export const storeRecoveryKey: Command = {
  operands: ['FILE'],
  flags: {
    parts: {
      type: 'string',
      value: 'N',
      description: 'Number of parts, one for each person (default: 5).',
    },
    needed: {
      type: 'string',
      value: 'N',
      description: 'Number of parts needed to restore the key (default: 3).',
    },
  },
  examples: ['latchkey store recovery-key recovery-public.pem --parts 5 --needed 3'],
  async run(context) {
    const [path = ''] = context.operands
    if (path === '') throw new UsageError('USAGE', 'expected FILE')
    const parts = countFlag(context, 'parts', { otherwise: 5, least: 2, most: MOST_PARTS })
    const needed = countFlag(context, 'needed', { otherwise: 3, least: 2, most: parts })
    const { createRecoveryParts } = await import('../../store/recovery-parts.ts')
    const made = await createRecoveryParts({ parts, needed })
    const files = made.parts.map((part) => ({ part, path: `${path}.part-${String(part.part)}` }))
    await writeNewFile(path, made.publicKey, 0o644)
    for (const one of files) await writeNewFile(one.path, `${JSON.stringify(one.part)}\n`, 0o600)
    const [first, last] = [files.at(0)?.path ?? '', files.at(-1)?.path ?? '']
    context.output.result(
      `the public key is in ${path}. Give each person one of the files ${first} to ${last}, then delete these files here: any ${String(needed)} of the ${String(parts)} parts restore the private key.`,
      { publicKey: path, parts: files.map((one) => one.path), needed },
    )
  },
}

/** @returns undefined if neither flag is given @throws UsageError, StorageError */
export async function readRecoveryKey(context: Context): Promise<KeyObject | undefined> {
  const file = stringFlag(context, 'recovery-key')
  const parts = stringFlag(context, 'recovery-parts')
  if (file !== undefined && parts !== undefined) {
    throw new UsageError('USAGE', '--recovery-key and --recovery-parts cannot be combined')
  }
  if (parts !== undefined) return joinParts(parts.split(','))
  if (file === undefined) return undefined
  const pem = await readPrivateFile(file)
  try {
    return createPrivateKey(pem)
  } catch (cause) {
    throw new UsageError('INPUT_INVALID', `${file}: expected a private key in PEM`, { cause })
  }
}

async function joinParts(paths: readonly string[]): Promise<KeyObject> {
  const { joinRecoveryParts, parseRecoveryPart } = await import('../../store/recovery-parts.ts')
  const parts = []
  for (const path of paths) {
    const part = parseRecoveryPart((await readPrivateFile(path)).toString('utf8'))
    if (part === undefined) {
      throw new UsageError('INPUT_INVALID', `${path} is not a part of a recovery key`)
    }
    parts.push(part)
  }
  return joinRecoveryParts(parts)
}
