/** Tests `latchkey register` and `unregister` using the real AWS SDK and a KMS emulator that calls the proxy. */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { eventually } from '../support/server.ts'
import { ENDPOINT, registration } from '../support/registration.ts'

interface Registered {
  readonly customKeyStoreId: string
  readonly key?: { readonly arn: string; readonly keyId: string; readonly xksKeyId: string }
}

const REGISTER = ['register', '--endpoint', ENDPOINT, '--key-id', 'payroll']

void t.test('a key store is registered, found again, and unregistered', async (t) => {
  const r = await registration(t, {
    // Wait until the command has polled the state once more.
    async connectDelay() {
      const count = () => r.kms.calls.filter((name) => name === 'DescribeCustomKeyStores').length
      const before = count()
      await eventually(() => count() > before)
    },
  })
  const { code, stdout, stderr } = await r.latchkey(...REGISTER, ...r.checkFlags)
  t.equal(code, 0, stderr)
  t.match(stdout, /✓ Latchkey test CA is on /, 'the chain was looked at')
  t.match(stdout, /✓ CreateCustomKeyStore +cks-/)
  t.match(stdout, /· ConnectCustomKeyStore +CONNECTING/)
  t.match(stdout, /✓ ConnectCustomKeyStore +CONNECTED after/)
  t.match(stdout, /✓ CreateKey +arn:aws:kms:us-east-1:111122223333:key\//)
  t.match(
    stdout,
    /✓ round trip +GenerateDataKey \d+ ms, Decrypt \d+ ms: both returned the same data key/,
  )
  t.same(
    r.kms.calls.filter((name) => !name.startsWith('Describe')),
    ['CreateCustomKeyStore', 'ConnectCustomKeyStore', 'CreateKey', 'GenerateDataKey', 'Decrypt'],
  )

  const sent = r.kms.bodies.find((body) => 'XksProxyAuthenticationCredential' in body)
  const { RawSecretAccessKey: secret = '' } = (sent?.['XksProxyAuthenticationCredential'] ??
    {}) as { readonly RawSecretAccessKey?: string }
  t.equal(secret.length, 44)
  t.notOk(stdout.includes(secret) || stderr.includes(secret), 'the secret goes to KMS only')

  r.kms.calls.length = 0
  const again = (await r.json(...REGISTER, ...r.checkFlags)) as Registered
  t.match(again.key, { xksKeyId: 'payroll' })
  t.notOk(r.kms.calls.includes('CreateCustomKeyStore'), 'it is there already')
  t.notOk(r.kms.calls.includes('ConnectCustomKeyStore'))
  const credentials = (await r.workspace.json('credentials', 'list')) as unknown[]
  t.equal(credentials.length, 1, 'one credential for one registration')

  const other = await r.latchkey(
    ...['register', '--endpoint', 'https://other.example.com', '--skip-endpoint-checks'],
  )
  t.equal(other.code, 1)
  t.match(
    other.stderr,
    'KMS already has a key store demo with different settings: XksProxyUriEndpoint is',
  )

  const plan = await r.latchkey('unregister')
  t.equal(plan.code, 0)
  t.match(
    plan.stdout,
    'The command would not delete the key store; pass --schedule-key-deletion DAYS',
  )
  const refused = await r.latchkey('unregister', '--yes')
  t.equal(refused.code, 1)
  t.match(refused.stderr, /demo has KMS keys: arn:aws:kms:.*\(payroll\)/)
  t.match(r.kms.kms.stores.get(again.customKeyStoreId), { state: 'CONNECTED' }, 'left alone')

  const waits = await r.latchkey('unregister', '--schedule-key-deletion', '7', '--yes')
  t.equal(waits.code, 0, waits.stderr)
  t.match(waits.stdout, 'demo stays until its KMS keys are deleted: run this command again after')
  t.match(r.kms.kms.stores.get(again.customKeyStoreId), { state: 'CONNECTED' })
})

void t.test('a key store without KMS keys is disconnected and deleted', async (t) => {
  const r = await registration(t)
  const made = (await r.json('register', '--endpoint', ENDPOINT, ...r.checkFlags)) as Registered
  t.equal(made.key, undefined)
  const dry = await r.latchkey('unregister')
  t.match(dry.stdout, 'demo has no KMS keys.')
  t.match(dry.stdout, 'Add --yes to do it.')
  t.equal(r.kms.kms.stores.describe().length, 1)
  const { code, stdout } = await r.latchkey('unregister', '--yes')
  t.equal(code, 0)
  t.match(stdout, `deleted demo (${made.customKeyStoreId}) from KMS`)
  t.equal(r.kms.kms.stores.describe().length, 0)
  const none = await r.latchkey('unregister', '--yes')
  t.equal(none.code, 0, 'a second time there is nothing to do')
  t.match(none.stdout, 'has no key store demo')
})

void t.test('before anything is created', async (t) => {
  const r = await registration(t)

  await t.test('--dry-run prints the calls as AWS CLI commands and as JSON', async (t) => {
    const words = [...REGISTER, '--region', 'eu-west-1', '--dry-run']
    const { code, stdout } = await r.latchkey(...words)
    t.equal(code, 0)
    t.match(stdout, 'aws kms create-custom-key-store \\\n  --region eu-west-1 \\\n')
    t.match(stdout, '--cli-input-json file://kms-console.json')
    t.match(stdout, '--xks-proxy-uri-path=/demo/kms/xks/v1')
    t.match(stdout, 'aws kms create-key \\\n')
    t.match(stdout, '"XksProxyUriPath": "/demo/kms/xks/v1"')
    t.match(stdout, 'Nothing was changed.')
    t.same(r.kms.calls, [])
    t.same(await r.workspace.json('credentials', 'list'), [])
    const { calls, shell } = (await r.json(...words)) as {
      readonly calls: readonly { readonly operation: string }[]
      readonly shell: readonly string[]
    }
    t.equal(calls[0]?.operation, 'CreateCustomKeyStore')
    t.notMatch(shell.join('\n'), /raw-secret|authentication-credential/i)
    // If a value is a URL, version 1 of the AWS CLI would fetch the URL instead of sending it.
    t.notMatch(shell.filter((line) => line.includes('aws ')).join('\n'), /https?:\/\//)
    t.match(shell.join('\n'), `printf %s ${ENDPOINT} > kms-xks-proxy-uri-endpoint.txt`)
  })

  await t.test('problems that KMS would reject are found before KMS is called', async (t) => {
    await r.workspace.json('keys', 'create', 'disabled')
    await r.workspace.json('keys', 'disable', 'disabled', '--yes')
    const rows: readonly (readonly [string, readonly string[], number, RegExp])[] = [
      ['a port', ['--endpoint', `${ENDPOINT}:8443`], 1, /xksProxyUriEndpoint: expected/],
      ['an address', ['--endpoint', 'https://192.0.2.1'], 1, /no fully qualified domain name/],
      ['one label', ['--endpoint', 'https://localhost'], 1, /no fully qualified domain name/],
      [
        'a disabled key',
        ['--endpoint', ENDPOINT, '--key-id', 'disabled'],
        1,
        /disabled is DISABLED/,
      ],
      [
        'a service that is none',
        ['--endpoint', ENDPOINT, '--vpc-endpoint-service', 'vpce-svc-1'],
        1,
        /xksProxyVpcEndpointServiceName: expected/,
      ],
      [
        'a service of another region',
        [
          ...['--endpoint', ENDPOINT, '--region', 'us-east-1', '--vpc-endpoint-service'],
          'com.amazonaws.vpce.eu-west-1.vpce-svc-0123456789abcdef0',
        ],
        1,
        /is not in us-east-1: expected a name that starts with com\.amazonaws\.vpce\.us-east-1/,
      ],
      [
        'another name than that of the certificate',
        ['--endpoint', 'https://other.example.com', ...r.checkFlags],
        1,
        /common name is "xks\.example\.com", not other\.example\.com/,
      ],
      ['no endpoint', [], 64, /--endpoint is missing/],
      [
        'a timeout of no form',
        ['--endpoint', ENDPOINT, '--timeout', '5'],
        64,
        /--timeout: expected a duration such as/,
      ],
    ]
    for (const [what, flags, code, message] of rows) {
      const found = await r.latchkey('register', ...flags, ...(code === 64 ? r.checkFlags : []))
      t.equal(found.code, code, what)
      t.match(found.stderr, message)
    }
    t.notOk(r.kms.calls.includes('CreateCustomKeyStore'))
    const unused = (await r.workspace.json('credentials', 'list')) as { readonly status: string }[]
    t.ok(
      unused.every(({ status }) => status === 'REVOKED'),
      'no credential is left behind by a run that did not register',
    )
  })

  await t.test(
    'a refusal by KMS is explained with a remedy, and nothing is left behind',
    async (t) => {
      r.target.port = 1
      const { code, stderr } = await r.latchkey(...REGISTER, ...r.checkFlags)
      t.equal(code, 1)
      t.match(stderr, 'latchkey: error: XksProxyUriUnreachableException: ')
      t.match(stderr, 'latchkey: hint: check DNS, port 443, firewalls')
      const credentials = (await r.workspace.json('credentials', 'list')) as { status: string }[]
      t.ok(credentials.every(({ status }) => status === 'REVOKED'))

      r.kms.failNext('DescribeCustomKeyStores', 'AccessDeniedException')
      const denied = await r.latchkey(...REGISTER, ...r.checkFlags)
      t.equal(denied.code, 1)
      t.match(denied.stderr, 'AccessDeniedException')
      t.match(denied.stderr, 'hint: see docs/register.md for the required permissions')
      delete process.env['AWS_SECRET_ACCESS_KEY']
      delete process.env['AWS_ACCESS_KEY_ID']
      const anonymous = await r.latchkey(...REGISTER, ...r.checkFlags)
      t.equal(anonymous.code, 1)
      t.match(anonymous.stderr, 'hint: set AWS_PROFILE, or AWS_ACCESS_KEY_ID')
    },
  )
})

void t.test(
  'a failed connection is explained, and a second run continues from there',
  async (t) => {
    const r = await registration(t)
    const service = 'com.amazonaws.vpce.us-east-1.vpce-svc-0123456789abcdef0'
    const words = ['register', '--endpoint', ENDPOINT, '--vpc-endpoint-service', service]
    const first = await r.latchkey(...words, '--skip-endpoint-checks')
    t.equal(first.code, 1)
    t.match(first.stderr, 'XKS_VPC_ENDPOINT_SERVICE_NOT_FOUND: KMS cannot find')
    t.match(first.stderr, 'latchkey: hint: check the endpoint service name; add cks.kms.')
    const [store] = r.kms.kms.stores.describe()
    t.equal(store?.state, 'FAILED')
    const second = await r.latchkey(...words, ...r.checkFlags)
    t.match(second.stderr, 'XKS_VPC_ENDPOINT_SERVICE_NOT_FOUND')
    t.ok(r.kms.calls.includes('DisconnectCustomKeyStore'), 'KMS wants that after a failure')
    t.equal(r.kms.kms.stores.describe().length, 1, 'and not a second store')
  },
)

void t.test('--credential accepts a file from `credentials create` for this store', async (t) => {
  const r = await registration(t)
  const file = join(r.workspace.folder, 'kms-console.json')
  await r.workspace.json('credentials', 'create', '--output', file)
  const made = (await r.json(...REGISTER, ...r.checkFlags, '--credential', file)) as Registered
  const pair = JSON.parse(await readFile(file, 'utf8')) as {
    readonly XksProxyAuthenticationCredential: { readonly AccessKeyId: string }
  }
  const { accessKeyId } = r.kms.kms.stores.get(made.customKeyStoreId).proxy
  t.equal(accessKeyId, pair.XksProxyAuthenticationCredential.AccessKeyId)
  await r.workspace.json('credentials', 'revoke', accessKeyId, '--yes')
  const stale = await r.latchkey(...REGISTER, ...r.checkFlags)
  t.equal(stale.code, 1)
  t.match(stale.stderr, 'which is not an active credential of key store demo')
  t.match(stale.stderr, 'hint: run latchkey rotate-credentials')
})
