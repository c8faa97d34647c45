/** Another XKS proxy that is already running, named by a flag. The benchmark neither pins nor stops it. */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import { parseConsoleFile, readPrivateFile } from '../../src/terminal/files.ts'
import { casesOf } from '../matrix.ts'
import type { BenchServer } from './server.ts'

export interface PeerOptions {
  /** URL such as `https://host:port/prefix/kms/xks/v1`. */
  readonly url: string
  /** Path to the JSON file with the peer's credential, in the KMS console's format. */
  readonly credentialFile: string
  readonly keyId: string
  readonly caFile: string
}

/**
 * The key type of the peer's certificate is unknown, so the peer is compared with the bare server that has an RSA
 * certificate.
 */
export async function createPeer(options: PeerOptions): Promise<BenchServer> {
  const { hostname, host, port, pathname } = new URL(options.url)
  const text = (await readPrivateFile(options.credentialFile)).toString('utf8')
  const { accessKeyId, secretAccessKey } = parseConsoleFile(text)
  await readFile(options.caFile)
  return {
    name: 'peer',
    cases: casesOf('peer', 'proxy').filter(({ certificate }) => certificate === 'rsa'),
    caFile: options.caFile,
    start: () =>
      Promise.resolve({
        port: port === '' ? 443 : Number(port),
        host: hostname === 'localhost' ? '127.0.0.1' : hostname,
        stop: () => Promise.resolve(),
      }),
    signer: () =>
      Promise.resolve({
        accessKeyId,
        secretAccessKey: secretAccessKey.reveal(),
        keyId: options.keyId,
        host,
        uriPath: pathname.replace(/\/+$/, ''),
      }),
  }
}
