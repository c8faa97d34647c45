/** Runs the real curl, which has its own SigV4 implementation. */
// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { REGION, type TestServer } from './server.ts'

export interface CurlCall {
  readonly path: string
  readonly body: Record<string, unknown>
  readonly http: '1.1' | '2'
  readonly secretAccessKey?: string
  /** Additional arguments, such as headers. */
  readonly more?: readonly string[]
}

export interface CurlAnswer {
  readonly status: number
  /** HTTP version as reported by curl: `1.1` or `2`. */
  readonly http: string
  readonly json: Record<string, unknown>
}

/** Sends a request as shown in the README, with the credential in a file that only its owner can read. */
export async function curl(t: Test, server: TestServer, call: CurlCall): Promise<CurlAnswer> {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-curl-'))
  t.teardown(() => {
    rmSync(folder, { recursive: true, force: true })
  })
  const { accessKeyId, secretAccessKey } = server.credential
  const secret = call.secretAccessKey ?? secretAccessKey.reveal()
  const config = join(folder, 'curl.conf')
  writeFileSync(config, `user = "${accessKeyId}:${secret}"\n`, { mode: 0o600 })
  const bodyFile = join(folder, 'body.json')
  writeFileSync(bodyFile, JSON.stringify(call.body))
  const output = await run([
    // This must be the first argument; otherwise curl reads the user's own configuration.
    '--disable',
    ...['--config', config],
    ...['--aws-sigv4', `aws:amz:${REGION}:kms-xks-proxy`],
    ...['--cacert', server.pki.caFile],
    call.http === '2' ? '--http2' : '--http1.1',
    ...['--noproxy', '*', '--silent', '--show-error', '--max-time', '30'],
    ...['--header', 'Content-Type: application/json'],
    ...(call.more ?? []),
    ...['--data-binary', `@${bodyFile}`],
    ...['--write-out', '\n%{http_code} %{http_version}'],
    `https://localhost:${String(server.port)}${server.uriPath}${call.path}`,
  ])
  const end = output.lastIndexOf('\n')
  const [status = '', http = ''] = output.slice(end + 1).split(' ')
  const json = JSON.parse(output.slice(0, end)) as Record<string, unknown>
  return { status: Number(status), http, json }
}

/**
 * Returns curl's output.
 * @throws if curl is missing or fails. A missing curl never skips a test.
 */
function run(args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('curl', args, { stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    let complaint = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text))
    child.on('error', (error) => {
      reject(new Error('curl 7.75 or later is needed for this test', { cause: error }))
    })
    child.on('close', (code) => {
      if (code === 0) resolve(output)
      else reject(new Error(`curl ended with ${String(code)}: ${complaint}`))
    })
  })
}
