/** Implements `latchkey audit witness`. */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { loadLogPolicy } from '../../app/control-log.ts'
import { openWitnessKey } from '../../audit/witness/key.ts'
import { createWitnessServer } from '../../audit/witness/server.ts'
import { createWitness } from '../../audit/witness/witness.ts'
import { systemClock as clock } from '../../core/clock.ts'
import { type Command, type Context, stringFlag, UsageError } from '../../terminal/command.ts'
import { readPrivateFile } from '../../terminal/files.ts'

const text = (value: string, description: string) => ({
  ...{ type: 'string' as const, value, description },
})

export const auditWitness: Command = {
  flags: {
    folder: text(
      'DIR',
      'Folder for the witness key and the last checkpoint of each log (required).',
    ),
    logs: text('FILE', 'Logs to cosign: a c2sp.org/tlog-policy file (required).'),
    name: text(
      'NAME',
      'Name of the witness key, such as witness.example.com (required on first start).',
    ),
    listen: text('ADDRESS', 'Address and port to listen on (default: 127.0.0.1:8555).'),
    'tls-certificate': text(
      'FILE',
      'PEM file of the certificate chain (default: none, which serves plain HTTP).',
    ),
    'tls-key': text('FILE', 'PEM file of the private key of the certificate.'),
  },
  examples: [
    'latchkey audit witness --folder /var/lib/witness --name witness.example.com --logs logs.policy --listen 0.0.0.0:8555',
  ],
  async run(context) {
    const { output } = context
    const folder = required(context, 'folder')
    const { logs } = await loadLogPolicy(required(context, 'logs'))
    const { host, port } = parseListen(stringFlag(context, 'listen') ?? '127.0.0.1:8555')
    const tls = await loadTls(context)
    const signer = await openWitnessKey(folder, stringFlag(context, 'name'), () => clock.now())
    const witness = createWitness({
      ...{ folder, signer, logs: logs.map(({ key }) => key) },
      onEvent: ({ origin, size, status, reason }) => {
        output.line(
          `${new Date(clock.now()).toISOString()} ${String(status)} ${origin} ${String(size)} ${reason}`,
        )
      },
    })
    const server = createWitnessServer({ witness, ...(tls && { tls }), onError: output.error })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, host, resolve)
    })
    const { port: bound } = server.address() as AddressInfo
    output.line(
      `witness ${signer.verifierKey} listening on ${host}:${String(bound)}, ${String(logs.length)} logs`,
    )
    await new Promise<void>((resolve) => {
      const stop = () => {
        server.close(() => {
          resolve()
        })
        server.closeIdleConnections()
      }
      process.once('SIGTERM', stop)
      process.once('SIGINT', stop)
    })
  },
}

function required(context: Context, name: string): string {
  const value = stringFlag(context, name)
  if (value === undefined) throw new UsageError('USAGE', `expected --${name}`)
  return value
}

function parseListen(address: string): { readonly host: string; readonly port: number } {
  const [, host = '', port = ''] = /^(.+):(\d{1,5})$/.exec(address) ?? []
  if (host === '' || Number(port) > 65_535) {
    throw new UsageError('USAGE', `--listen: expected ADDRESS:PORT, found ${address}`)
  }
  return { host: host.replace(/^\[|\]$/g, ''), port: Number(port) }
}

async function loadTls(context: Context) {
  const certificate = stringFlag(context, 'tls-certificate')
  const key = stringFlag(context, 'tls-key')
  if ((certificate === undefined) !== (key === undefined)) {
    throw new UsageError('USAGE', '--tls-certificate and --tls-key must be given together')
  }
  if (certificate === undefined || key === undefined) return undefined
  const [cert, privateKey] = await Promise.all([
    readFile(certificate, 'utf8'),
    readPrivateFile(key),
  ])
  return { cert, key: privateKey.toString('utf8') }
}
