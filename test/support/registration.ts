/**
 * Sets up a proxy with its own name and a certificate that the KMS emulator trusts, and an emulator that can reach it.
 */
// SPDX-License-Identifier: Apache-2.0
import { X509Certificate } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { workspace, type Ended, type Running, type Workspace } from './cli.ts'
import { startKmsServer, type KmsServer, type KmsServerOptions } from './kms-server.ts'
import { testPki } from './pki.ts'

export const HOST = 'xks.example.com'
export const ENDPOINT = `https://${HOST}`

export interface Registration {
  readonly workspace: Workspace
  readonly server: Running
  readonly kms: KmsServer
  /** Port that the KMS emulator connects to. A test can change it to redirect the emulator. */
  readonly target: { port: number }
  /** Flags for the checks: the address to connect to, the CA to trust, and the CAs that KMS trusts. */
  readonly checkFlags: readonly string[]
  latchkey(...words: readonly string[]): Promise<Ended>
  /** Runs a command with --json and returns the parsed output. The command must succeed. */
  json(...words: readonly string[]): Promise<unknown>
}

export async function registration(
  t: Test,
  options: Partial<KmsServerOptions> = {},
): Promise<Registration> {
  const pki = await testPki()
  const certificate = await pki.issue('xks', {
    commonName: HOST,
    names: [HOST],
    usage: 'server',
  })
  const w = await workspace(t, {
    settings: {
      activity: { flushInterval: '200ms' },
      // The long deadline keeps a busy machine from causing refusals; other tests cover refusals.
      limits: { requestDeadline: '20s' },
    },
    listener: {
      tls: { certificate: certificate.certificateFile, privateKey: certificate.privateKeyFile },
    },
  })
  await w.json('keys', 'create', 'payroll')
  const { running, port } = await w.serve()
  const target = { port }
  const kms = await startKmsServer(t, {
    reach: () => ({ connectTo: { host: '127.0.0.1', port: target.port }, caFile: pki.caFile }),
    ...options,
  })
  const authorities = join(w.folder, 'authorities')
  const root = new X509Certificate(await readFile(pki.caFile))
  await writeFile(
    authorities,
    `Alias name: test\nOwner: CN=Latchkey test CA\nSHA256: ${root.fingerprint256}\n`,
  )
  // The AWS SDK reads this process's environment.
  const before = { ...process.env }
  Object.assign(process.env, kms.environment)
  t.teardown(() => {
    process.env = before
  })
  const latchkey = (...words: readonly string[]) => w.run(...words)
  return {
    workspace: w,
    server: running,
    kms,
    target,
    checkFlags: [
      ...['--connect-to', `127.0.0.1:${String(port)}`],
      ...['--ca', pki.caFile, '--authorities', authorities],
    ],
    latchkey,
    async json(...words) {
      const { code, stdout, stderr } = await latchkey(...words, '--json')
      if (code !== 0) throw new Error(`${words.join(' ')} ended with ${String(code)}: ${stderr}`)
      return JSON.parse(stdout) as unknown
    },
  }
}

/**
 * Makes the KMS emulator poll the proxy's health periodically, as KMS does while a store is connected.
 * @returns a function that stops the polling
 */
export function keepPolling(r: Registration, id: string): () => Promise<void> {
  let isOver = false
  const poll = async () => {
    while (!isOver) {
      // If a change to the key store replaces the connection, the current poll fails and the next one succeeds.
      await r.kms.kms.stores.pollHealth(id).catch((error: unknown) => {
        if ((error as { code?: unknown }).code !== 'TCP') throw error
      })
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
  const polling = poll()
  return async () => {
    isOver = true
    await polling
  }
}
