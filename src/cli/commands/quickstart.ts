/** Implements `latchkey quickstart`. */
// SPDX-License-Identifier: Apache-2.0
import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startService } from '../../app/cluster.ts'
import type { Config } from '../../config/config.ts'
import { loadConfig } from '../../config/load.ts'
import { stringFlag, UsageError, type Command } from '../../terminal/command.ts'
import { consolePort, prepareDemo, type Demo } from '../../tools/demo/demo.ts'
import { roundTrip, type Step } from '../../tools/demo/round-trip.ts'
import { untilStopped } from './serve.ts'

export const quickstart: Command = {
  flags: {
    dir: {
      type: 'string',
      value: 'DIR',
      description: 'Demo folder, reused if it exists (default: ./demo).',
    },
    port: {
      type: 'string',
      value: 'PORT',
      description:
        "Port to listen on; the console uses the next one. 0 selects free ports (default: the demo's port, or 8443 for a new demo).",
    },
    once: { type: 'boolean', description: 'Exit after the round trip.' },
  },
  examples: ['latchkey quickstart', 'latchkey quickstart --dir /tmp/demo --port 9443 --once'],
  async run(context) {
    const port = parsePort(stringFlag(context, 'port'))
    const folder = resolve(stringFlag(context, 'dir') ?? 'demo')
    const demo = await prepareDemo(folder, port ?? 8443, { withConsole: true })
    const config = await loadConfig(demo.configFile, context.environment)
    const server = await startService(withPort(config, port), { logFile: demo.logFile })
    const consoleUrl = server.admin && `http://localhost:${String(server.admin.port)}/console`
    try {
      const steps = await roundTrip(demo, server.xks.port)
      context.output.result(render({ demo, port: server.xks.port, consoleUrl, steps }), {
        endpoint: `https://localhost:${String(server.xks.port)}`,
        uriPath: demo.uriPath,
        keyId: demo.keyId,
        ca: demo.caFile,
        consoleFile: demo.consoleFile,
        ...(consoleUrl === undefined ? {} : { consoleUrl, tokenFile: demo.tokenFile }),
        steps,
      })
    } catch (error) {
      await server.stop()
      throw error
    }
    if (context.flags['once'] === true) await server.stop()
    else await untilStopped(server, context.output)
  },
}

function parsePort(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const port = Number(text)
  if (!/^\d+$/.test(text) || port > 65_535) {
    throw new UsageError('USAGE', '--port: expected a number from 0 to 65535')
  }
  return port
}

/** @param port undefined to keep the configured ports */
function withPort(config: Config, port: number | undefined): Config {
  if (port === undefined) return config
  const { listener, admin } = config
  return {
    ...config,
    listener: { ...listener, port },
    ...(admin && { admin: { ...admin, port: consolePort(port) } }),
  }
}

interface Started {
  readonly demo: Demo
  readonly port: number
  /** Absent for a demo of an earlier version, whose configuration has no admin listener. */
  readonly consoleUrl: string | undefined
  readonly steps: readonly Step[]
}

function render({ demo, port, consoleUrl, steps }: Started): string {
  const endpoint = `https://localhost:${String(port)}`
  return [
    `Latchkey serves ${endpoint}${demo.uriPath}`,
    '',
    'Signed requests, as KMS would send them:',
    ...steps.map(
      ({ name, status, totalMs, remark }) =>
        `  ${name.padEnd(16)} ${String(status)}  ${totalMs.toFixed(2).padStart(7)} ms  ${remark}`,
    ),
    '',
    `configuration              ${demo.configFile}`,
    `certificate authority      ${demo.caFile}`,
    `KMS console's JSON file    ${demo.consoleFile}`,
    `request log                ${demo.logFile}`,
    ...(consoleUrl === undefined
      ? []
      : [
          `console                    ${consoleUrl}`,
          `token for the console      ${demo.tokenFile}`,
        ]),
    '',
    'Try it from another terminal:',
    '',
    `curl --cacert ${quote(demo.caFile)} --config ${quote(demo.curlFile)} \\`,
    '  --aws-sigv4 "aws:amz:us-east-1:kms-xks-proxy" \\',
    '  -H "Content-Type: application/json" \\',
    `  --data '${CURL_BODY}' \\`,
    `  ${endpoint}${demo.uriPath}/keys/${demo.keyId}/encrypt`,
    '',
    'Run the whole scenario, with KMS, a vendor, a kill and a restore (add --serve to keep applications running for the console):',
    '',
    `${ownCommand()} simulate --demo ${quote(dirname(demo.configFile))} --endpoint ${endpoint}`,
    '',
    'Press Ctrl-C to stop. The next run reuses these files.',
  ].join('\n')
}

/**
 * Returns a command line that runs this program from any folder, even if latchkey is not on the
 * PATH.
 */
function ownCommand(): string {
  const main = fileURLToPath(new URL('../../main.js', import.meta.url))
  return `${quote(process.execPath)} ${quote(main)}`
}

/** Quotes text for a POSIX shell. */
function quote(path: string): string {
  return /^[\w/.-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`
}

const CURL_BODY = JSON.stringify({
  requestMetadata: {
    awsPrincipalArn: 'arn:aws:iam::123456789012:user/Alice',
    kmsKeyArn: 'arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab',
    kmsOperation: 'Encrypt',
    kmsRequestId: '4112f4d6-db54-4af4-ae30-c55a22a8dfae',
  },
  plaintext: 'SGVsbG8gV29ybGQh',
  encryptionAlgorithm: 'AES_GCM',
  ciphertextDataIntegrityValueAlgorithm: 'SHA_256',
})
