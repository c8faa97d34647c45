/**
 * Reads and writes the files that commands use: secrets with mode 0600, and the JSON file for the
 * AWS KMS console.
 */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { constants, open, readFile, stat, type FileHandle } from 'node:fs/promises'
import type { KeyStoreConfig } from '../config/config.ts'
import { Secret } from '../core/secret.ts'
import type { Credential } from '../sigv4/credential.ts'
import { API_ROOT } from '../xks/route.ts'
import { UsageError } from './command.ts'

/** Writes a new file with mode 0600, never over an existing one, and syncs it to disk. */
export function writePrivateFile(path: string, text: string): Promise<void> {
  return writeNewFile(path, text, 0o600)
}

/**
 * Like `writePrivateFile`, but with the given mode. Never follows a symbolic link.
 * @throws UsageError if the path exists
 */
export async function writeNewFile(path: string, text: string, mode: number): Promise<void> {
  const file = await open(path, 'wx', mode).catch((cause: unknown) => {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause
    throw new UsageError('INPUT_INVALID', `${path} already exists`, { cause })
  })
  await writeAll(file, text)
}

/**
 * Writes a file that may already exist, such as a regenerated report. Never follows a symbolic
 * link.
 */
export async function writeOutputFile(path: string, text: string): Promise<void> {
  const { O_WRONLY, O_TRUNC, O_NOFOLLOW } = constants
  const file = await open(path, 'wx', 0o644).catch(async (cause: unknown) => {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause
    return open(path, O_WRONLY | O_TRUNC | O_NOFOLLOW)
  })
  await writeAll(file, text)
}

async function writeAll(file: FileHandle, text: string): Promise<void> {
  try {
    await file.writeFile(text)
    if ((await file.stat()).isFile()) await file.sync()
  } finally {
    await file.close()
  }
}

/** @param path path of the file, or `-` for standard input */
export async function readPrivateFile(path: string): Promise<Buffer> {
  if (path === '-') return readStandardInput()
  const { mode } = await stat(path)
  if ((mode & 0o077) !== 0) {
    throw new UsageError('FILE_EXPOSED', `others can read ${path}`, { hint: `chmod 600 ${path}` })
  }
  return readFile(path)
}

/** Hashes a file of any size in bounded memory. Returns the SHA-256 in hex. */
export async function hashFile(
  path: string,
): Promise<{ readonly sha256: string; readonly bytes: number }> {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    hash.update(chunk)
    bytes += chunk.length
  }
  return { sha256: hash.digest('hex'), bytes }
}

async function readStandardInput(): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

interface ConsoleFile {
  readonly XksProxyUriPath: string
  readonly XksProxyAuthenticationCredential: {
    readonly AccessKeyId: string
    readonly RawSecretAccessKey: string
  }
}

/**
 * Returns the contents of the file for the AWS KMS console, including the secret (XKS 1.0.3, XKS
 * proxy configuration in AWS KMS console).
 */
export function toConsoleFile(
  keyStore: Pick<KeyStoreConfig, 'prefix'>,
  credential: Credential,
): ConsoleFile {
  return {
    XksProxyUriPath: `${keyStore.prefix}${API_ROOT}`,
    XksProxyAuthenticationCredential: {
      AccessKeyId: credential.accessKeyId,
      RawSecretAccessKey: credential.secretAccessKey.reveal(),
    },
  }
}

/** @throws UsageError, whose message never contains the text */
export function parseConsoleFile(text: string): {
  readonly accessKeyId: string
  readonly secretAccessKey: Secret
} {
  let file: Partial<ConsoleFile> | null
  try {
    file = JSON.parse(text.replace(/^\ufeff/, '')) as Partial<ConsoleFile> | null
  } catch {
    throw new UsageError('INPUT_INVALID', 'the file is not JSON')
  }
  const pair = file?.XksProxyAuthenticationCredential as Partial<
    ConsoleFile['XksProxyAuthenticationCredential']
  > | null
  if (typeof pair?.AccessKeyId !== 'string' || typeof pair.RawSecretAccessKey !== 'string') {
    throw new UsageError(
      'INPUT_INVALID',
      'the file lacks XksProxyAuthenticationCredential with AccessKeyId and RawSecretAccessKey',
    )
  }
  return { accessKeyId: pair.AccessKeyId, secretAccessKey: new Secret(pair.RawSecretAccessKey) }
}
