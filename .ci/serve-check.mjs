// Checks that a deployment serves requests: sends a signed Encrypt and Decrypt request to each address, checks that a
// kill prints `revoked`, and restores access.
// SPDX-License-Identifier: Apache-2.0
import { setTimeout as sleep } from 'node:timers/promises'
import { built, REGION } from './chart-site.mjs'

const PLAINTEXT = Buffer.alloc(32, 7)
const PATIENCE_MS = 90_000

/**
 * Waits until the condition is true.
 * @param {() => string} [tell] returns details to show on timeout
 */
export async function until(isSo, what, tell = () => '') {
  const end = performance.now() + PATIENCE_MS
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`not within 90 s: ${what}\n${tell()}`)
    await sleep(100)
  }
}

/**
 * @param {{ credential: object, keyId: string, caFile: string, addresses: { host: string, port: number }[], execute:
 * (words: string[]) => Promise<{ code: number, output: string }> }} site `credential`: the JSON for the KMS console
 */
export async function checkServing({ credential, keyId, caFile, addresses, execute }) {
  const { createKmsSideClient } = await built('src/kms/client/client.js')
  const { Secret } = await built('src/core/secret.js')
  const { AccessKeyId, RawSecretAccessKey } = credential.XksProxyAuthenticationCredential
  const clients = addresses.map((connectTo) =>
    createKmsSideClient({
      ...{ endpoint: 'https://localhost:8443', connectTo, uriPath: credential.XksProxyUriPath },
      ...{ accessKeyId: AccessKeyId, region: REGION, caFile },
      secretAccessKey: new Secret(RawSecretAccessKey),
    }),
  )
  const encrypt = (client) => client.encrypt(keyId, { plaintext: PLAINTEXT, cdiv: true })
  const isServed = async (client) => (await encrypt(client).catch(() => ({}))).status === 200
  const must = async (...words) => {
    const { code, output } = await execute(words)
    if (code !== 0) throw new Error(`latchkey ${words.join(' ')} ended with ${code}:\n${output}`)
    return output
  }
  try {
    for (const client of clients) {
      await until(() => isServed(client), 'an Encrypt is served')
      const { body } = await encrypt(client)
      const bytes = (name) => Buffer.from(body[name], 'base64')
      const opened = await client.decrypt(keyId, {
        ciphertext: bytes('ciphertext'),
        ciphertextMetadata: bytes('ciphertextMetadata'),
        initializationVector: bytes('initializationVector'),
        authenticationTag: bytes('authenticationTag'),
      })
      if (opened.body.plaintext !== PLAINTEXT.toString('base64'))
        throw new Error(`Decrypt: ${opened.status}`)
    }
    const said = await must('kill', '--all', '--reason', 'deployment check')
    if (!/revoked/.test(said)) throw new Error(said)
    for (const client of clients) {
      const { status, body } = await encrypt(client)
      if (status !== 400 || body.errorName !== 'InvalidStateException')
        throw new Error(`after the kill: ${status}`)
    }
    await must('restore', '--all', '--reason', 'deployment check', '--yes')
    for (const client of clients) await until(() => isServed(client), 'served again')
  } finally {
    for (const client of clients) await client.close()
  }
}
