/** A witness's key, stored in a file in its directory. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseBase64 } from '../../core/base64.ts'
import { createNoteSigner, type NoteSigner } from '../../core/tlog/note.ts'
import { AuditError } from '../errors.ts'
import { syncFolder, writeSynced } from '../writer/durable.ts'

const FILE = 'witness-key.json'
const SEED_BYTES = 32

/**
 * Returns the cosignature signer. The first call creates its key.
 * @param name name of the key (default: the name of the existing key)
 * @param now returns the wall time in milliseconds
 * @throws AuditError AUDIT_INVALID, AUDIT_UNWRITABLE
 */
export async function openWitnessKey(
  folder: string,
  name: string | undefined,
  now: () => number,
): Promise<NoteSigner> {
  const path = join(folder, FILE)
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return undefined
  })
  if (text !== undefined) {
    const known = parse(text)
    if (known === undefined) throw new AuditError('AUDIT_INVALID', `${path} is not a witness key`)
    if (name !== undefined && name !== known.name) {
      throw new AuditError('AUDIT_INVALID', `${path} contains the key ${known.name}, not ${name}`, {
        hint: 'use a different folder for a witness with a different name',
      })
    }
    return createNoteSigner(known.name, known.seed, 'cosignature', now)
  }
  if (name === undefined) {
    throw new AuditError(
      'AUDIT_NOT_FOUND',
      `${folder} has no witness key yet, and a new key requires a name`,
      {
        hint: 'choose one with --name, such as witness.example.com/latchkey',
      },
    )
  }
  const seed = randomBytes(SEED_BYTES)
  const signer = createNoteSigner(name, seed, 'cosignature', now)
  try {
    await mkdir(folder, { recursive: true, mode: 0o750 })
    const stored = JSON.stringify({ name, seed: seed.toString('base64') })
    await writeSynced(path, `${stored}\n`, 0o600)
    syncFolder(folder)
  } catch (cause) {
    throw new AuditError('AUDIT_UNWRITABLE', `cannot write the key to ${path}`, { cause })
  }
  return signer
}

function parse(text: string): { readonly name: string; readonly seed: Buffer } | undefined {
  try {
    const { name, seed } = JSON.parse(text) as { readonly name: unknown; readonly seed: unknown }
    const bytes = typeof seed === 'string' ? parseBase64(seed) : undefined
    return typeof name === 'string' && bytes?.length === SEED_BYTES
      ? { name, seed: bytes }
      : undefined
  } catch {
    return undefined
  }
}
