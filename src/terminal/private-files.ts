/** Files with secrets: written with mode 0600, and rejected if others can read them. */
// SPDX-License-Identifier: Apache-2.0
import { open, readFile, stat } from 'node:fs/promises'
import { UsageError } from './command.ts'

/** Writes a new file with mode 0600, never over an existing one, and syncs it to disk. */
export async function writePrivateFile(path: string, text: string): Promise<void> {
  const file = await open(path, 'wx', 0o600).catch((cause: unknown) => {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause
    throw new UsageError('INPUT_INVALID', `${path} is there already`, { cause })
  })
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** @param path `-` is standard input */
export async function readPrivateFile(path: string): Promise<Buffer> {
  if (path === '-') return readStandardInput()
  const { mode } = await stat(path)
  if ((mode & 0o077) !== 0) {
    throw new UsageError('FILE_EXPOSED', `others can read ${path}`, { hint: `chmod 600 ${path}` })
  }
  return readFile(path)
}

async function readStandardInput(): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}
