/** Writes a test server's KMS console file, for commands that call the server from outside. */
// SPDX-License-Identifier: Apache-2.0
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestServer } from './server.ts'

/** @returns the file's path */
export async function writeConsoleFile(
  server: TestServer,
  secret = server.credential.secretAccessKey.reveal(),
): Promise<string> {
  const file = join(server.folder, `kms-console-${String(secret.length)}.json`)
  const text = JSON.stringify({
    XksProxyUriPath: server.uriPath,
    XksProxyAuthenticationCredential: {
      AccessKeyId: server.credential.accessKeyId,
      RawSecretAccessKey: secret,
    },
  })
  await writeFile(file, text, { mode: 0o600 })
  return file
}
