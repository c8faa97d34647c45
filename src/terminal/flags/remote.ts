/** The proxy that doctor, bench and report call: its address, a credential, and how to connect. */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import { parseExternalKeyId } from '../../core/ids.ts'
import { Secret } from '../../core/secret.ts'
import type { Endpoint } from '../../kms/client/dial.ts'
import type { SigningCredential } from '../../kms/client/signing.ts'
import { type Context, type Flag, UsageError, stringFlag } from '../command.ts'
import { parseConsoleFile, readPrivateFile } from '../files.ts'

export interface Remote {
  readonly endpoint: Endpoint
  /** Value of the Host header as KMS sends it, which omits port 443. */
  readonly hostHeader: string
  /** XksProxyUriPath, such as `/demo/kms/xks/v1`. */
  readonly uriPath: string
  readonly keyId: string | undefined
  readonly credential: SigningCredential
}

export const REMOTE_FLAGS = {
  endpoint: {
    type: 'string',
    short: 'e',
    value: 'URL',
    description:
      'Proxy URL: https://host/prefix/kms/xks/v1 (default path: the one in the credential file).',
  },
  credential: {
    type: 'string',
    value: 'FILE',
    description:
      'JSON file for the KMS console (default: $LATCHKEY_XKS_ACCESS_KEY_ID and $LATCHKEY_XKS_SECRET_ACCESS_KEY).',
  },
  'key-id': { type: 'string', short: 'k', value: 'KEY_ID', description: 'External key to use.' },
  region: {
    type: 'string',
    value: 'REGION',
    description: 'Region that KMS would call from (default: us-east-1).',
  },
  ca: {
    type: 'string',
    value: 'FILE',
    description: 'PEM file of certificate authorities to trust, for a private CA.',
  },
  'client-certificate': {
    type: 'string',
    value: 'FILE',
    description: 'PEM file of the client certificate, for mTLS.',
  },
  'client-key': {
    type: 'string',
    value: 'FILE',
    description: 'PEM file of the private key of the client certificate.',
  },
} as const satisfies Record<string, Flag>

/** @throws UsageError, or a system error for a file that cannot be read */
export async function loadRemote(context: Context): Promise<Remote> {
  const { uriPath: filePath, ...credential } = await loadCredential(context)
  const url = parseEndpoint(stringFlag(context, 'endpoint'))
  const path = url.pathname.replace(/\/+$/, '')
  const uriPath = path === '' ? filePath : path
  if (uriPath === undefined) {
    throw new UsageError(
      'USAGE',
      '--endpoint: expected a URL with a path such as /prefix/kms/xks/v1',
    )
  }
  const keyId = stringFlag(context, 'key-id')
  if (keyId !== undefined && parseExternalKeyId(keyId) === undefined) {
    throw new UsageError('INPUT_INVALID', '--key-id: expected an external key id')
  }
  return {
    endpoint: {
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: url.port === '' ? 443 : Number(url.port),
      ...(await loadTrust(context)),
    },
    hostHeader: url.host,
    uriPath,
    keyId,
    credential: { ...credential, region: stringFlag(context, 'region') ?? 'us-east-1' },
  }
}

/** Returns the key id for commands that need one. @throws UsageError */
export function requireKeyId(remote: Remote): string {
  if (remote.keyId !== undefined) return remote.keyId
  throw new UsageError('USAGE', '--key-id is missing')
}

function parseEndpoint(text: string | undefined): URL {
  if (text === undefined) throw new UsageError('USAGE', '--endpoint is missing')
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url?.protocol !== 'https:' || url.search !== '' || url.hash !== '' || url.username !== '') {
    throw new UsageError('USAGE', '--endpoint: expected https://host/prefix/kms/xks/v1')
  }
  return url
}

async function loadCredential(context: Context) {
  const file = stringFlag(context, 'credential')
  if (file !== undefined) {
    const text = (await readPrivateFile(file)).toString('utf8')
    return { ...parseConsoleFile(text), uriPath: uriPathOf(text) }
  }
  const accessKeyId = context.environment['LATCHKEY_XKS_ACCESS_KEY_ID']
  const secret = context.environment['LATCHKEY_XKS_SECRET_ACCESS_KEY']
  if (accessKeyId === undefined || secret === undefined) {
    throw new UsageError('USAGE', '--credential is missing', {
      hint: 'pass --credential FILE, or set LATCHKEY_XKS_ACCESS_KEY_ID and LATCHKEY_XKS_SECRET_ACCESS_KEY',
    })
  }
  return { accessKeyId, secretAccessKey: new Secret(secret), uriPath: undefined }
}

function uriPathOf(text: string): string | undefined {
  const { XksProxyUriPath: path } = JSON.parse(text.replace(/^\ufeff/, '')) as {
    XksProxyUriPath?: unknown
  }
  return typeof path === 'string' ? path : undefined
}

async function loadTrust(context: Context): Promise<Pick<Endpoint, 'ca' | 'clientCertificate'>> {
  const ca = stringFlag(context, 'ca')
  const certificate = stringFlag(context, 'client-certificate')
  const privateKey = stringFlag(context, 'client-key')
  if ((certificate === undefined) !== (privateKey === undefined)) {
    throw new UsageError('USAGE', '--client-certificate and --client-key must be given together')
  }
  return {
    ...(ca === undefined ? {} : { ca: await readFile(ca, 'utf8') }),
    ...(certificate === undefined || privateKey === undefined
      ? {}
      : {
          clientCertificate: {
            certificate: await readFile(certificate, 'utf8'),
            privateKey: (await readPrivateFile(privateKey)).toString('utf8'),
          },
        }),
  }
}
