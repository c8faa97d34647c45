/**
 * Runs the commands printed by `register --dry-run` as a script, using the AWS CLI and a KMS emulator that calls the
 * proxy. `npm run check` uses Debian's AWS CLI version 2. Set AWS_CLI=/path/to/aws to use another version, such as 1.
 */
// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { MAIN, type Ended } from '../support/cli.ts'
import { ENDPOINT, registration, type Registration } from '../support/registration.ts'

const AWS = process.env['AWS_CLI'] ?? '/usr/bin/aws'

/**
 * Runs a script in which `latchkey` is our build and `aws` is the CLI under test, with our KMS emulator as its
 * endpoint.
 */
async function shell(t: Test, r: Registration, script: string): Promise<Ended> {
  const { folder } = r.workspace
  const programs = {
    latchkey: `'${process.execPath}' '${MAIN}' "$@"`,
    // Debian's AWS CLI is too old to support AWS_ENDPOINT_URL_KMS.
    aws: `'${AWS}' "$@" --endpoint-url '${r.kms.url}'`,
  }
  for (const [name, command] of Object.entries(programs)) {
    await writeFile(join(folder, name), `#!/bin/sh\nexec ${command}\n`, { mode: 0o755 })
  }
  const child = spawn('sh', ['-e', '-c', script], {
    cwd: folder,
    env: {
      ...r.kms.environment,
      PATH: `${folder}:${process.env['PATH'] ?? ''}`,
      HOME: folder,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk))
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk))
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { code: code ?? undefined, stdout, stderr }
}

async function printed(r: Registration, ...words: readonly string[]): Promise<string> {
  // Version 1 ignores AWS_REGION, so `latchkey register` reads it and prints the region in each command.
  const flags = ['--endpoint', ENDPOINT, '--region', 'us-east-1']
  const plan = (await r.json('register', ...flags, ...words, '--dry-run')) as {
    readonly shell: readonly string[]
  }
  return plan.shell.join('\n')
}

void t.test('the printed commands create a key store, connect it and create a key', async (t) => {
  const r = await registration(t)
  const { code, stdout, stderr } = await shell(t, r, await printed(r, '--key-id', 'payroll'))
  t.equal(code, 0, stderr)
  t.match(stdout, /^CONNECTED$/m)
  t.match(stdout, '"XksKeyConfiguration"')
  const [store] = r.kms.kms.stores.describe()
  t.match(store, {
    name: 'demo',
    state: 'CONNECTED',
    proxy: { connectivity: 'PUBLIC_ENDPOINT', uriEndpoint: ENDPOINT, uriPath: '/demo/kms/xks/v1' },
  })
  t.match(r.kms.kms.keys.list(), [{ xksKeyId: 'payroll' }])
  const left = (await readdir(r.workspace.folder)).filter((name) => name.startsWith('kms-'))
  t.same(left, [], 'neither the secret nor the endpoint is left in a file')
})

void t.test('names reach KMS unchanged', async (t) => {
  const r = await registration(t)
  for (const name of ['-dashes first', 'file://latchkey.yaml', "it's $HOME", 'https://a.example']) {
    const script = await printed(r, `--name=${name}`)
    const { code, stderr } = await shell(t, r, script)
    t.equal(code, 0, `${name}: ${stderr}`)
    const made = r.kms.bodies.filter((body) => 'CustomKeyStoreName' in body).at(-1)
    t.equal(made?.['CustomKeyStoreName'], name)
    const [store] = r.kms.kms.stores.describe({ name })
    t.ok(store !== undefined)
    if (store === undefined) continue
    r.kms.kms.stores.disconnect(store.id)
    await r.kms.kms.stores.delete(store.id)
  }
})

void t.test('if KMS refuses, the credential file is kept for another attempt', async (t) => {
  const r = await registration(t)
  const script = await printed(r)
  r.kms.failNext('CreateCustomKeyStore', 'AccessDeniedException')
  const { code, stderr } = await shell(t, r, script)
  t.not(code, 0)
  t.match(stderr, 'AccessDeniedException')
  t.ok(existsSync(join(r.workspace.folder, 'kms-console.json')))
  t.notOk(r.kms.calls.includes('ConnectCustomKeyStore'))
})
