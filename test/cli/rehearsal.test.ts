/**
 * Tests that `kill --rehearse` predicts a kill without executing it, and that `exposure` lists what a kill cannot
 * reach.
 */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { toStoreOptions } from '../../src/app/store.ts'
import { kill } from '../../src/killswitch/operator/kill.ts'
import { openStore } from '../../src/store/store.ts'
import { latchkeyHere, startLatchkey } from '../support/cli.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { KEY_ID, eventually, startTestServer, type TestServer } from '../support/server.ts'
import { call, decryptBody, encryptBody, requestMetadata } from '../support/wire.ts'

const BOB = 'arn:aws:sts::444455556666:assumed-role/Worker/i-1'

/** Callers that differ in every property a switch can match. */
const CALLERS: readonly Record<string, unknown>[] = [
  {},
  { awsPrincipalArn: BOB, kmsViaService: 'ebs' },
  { awsPrincipalArn: BOB, kmsViaService: 'sqs', awsSourceVpc: 'vpc-1' },
  { kmsViaService: 'ebs', awsSourceVpc: 'vpc-2', awsSourceVpce: 'vpce-1' },
]

interface Found {
  readonly requests: number
  readonly wouldBeRefused: number
  readonly principals: readonly { readonly name: string; readonly requests: number }[]
}

async function startRecorded(t: Test) {
  const server = await startTestServer(t, {
    config: { activity: { flushInterval: '100ms' }, control: { lease: '5s' } },
  })
  const client = server.client()
  const { json } = await call(server, `/keys/${KEY_ID}/encrypt`, encryptBody())
  const askAll = async () => {
    let refused = 0
    for (const caller of CALLERS) {
      const body = decryptBody(json, { requestMetadata: requestMetadata('Decrypt', caller) })
      const { status } = await client.post(`/keys/${KEY_ID}/decrypt`, JSON.stringify(body))
      if (status !== 200) refused += 1
    }
    return refused
  }
  return { server, askAll }
}

function run(server: TestServer, ...words: readonly string[]) {
  return latchkeyHere(words, { LATCHKEY_CONFIG: server.configFile })
}

async function json<T>(server: TestServer, ...words: readonly string[]): Promise<T> {
  const { code, stdout, stderr } = await run(server, ...words, '--json')
  if (code !== 0) throw new Error(stderr)
  return JSON.parse(stdout) as T
}

/** Waits until all requests have been recorded in the store. */
async function settled(server: TestServer, requests: number, ...scope: readonly string[]) {
  let found: Found | undefined
  await eventually(async () => {
    found = await json<Found>(server, 'kill', '--rehearse', ...scope)
    return found.requests >= requests
  })
  if (found === undefined) throw new Error('nothing was found')
  return found
}

/** Each scope, and the number of callers it matches. */
const SCOPES: readonly (readonly [readonly string[], number])[] = [
  [['--all'], 4],
  [['--key-store', 'demo'], 4],
  [['--key', KEY_ID], 4],
  [['--account', '444455556666'], 2],
  [['--principal', 'arn:aws:sts::*:assumed-role/Worker/*'], 2],
  [['--via-service', 'ebs'], 2],
  [['--vpc', 'vpc-*'], 2],
  [['--vpc', 'vpce-1'], 1],
  [['--via-service', 'ebs', '--vpc', 'vpc-2'], 1],
  [['--via-service', 'rds'], 0],
]
/**
 * Indices of the scopes that are also killed for real. The others are only rehearsed, because each kill takes a while.
 */
const DONE = [2, 3, 5, 8]

void t.test('a kill of any scope refuses what its rehearsal predicted', async (t) => {
  const { server, askAll } = await startRecorded(t)
  t.equal(await askAll(), 0)
  await settled(server, 1 + CALLERS.length, '--all')
  for (const [scope, meant] of SCOPES) {
    const order = [...scope, '--direction', 'decrypt']
    const found = await json<Found>(server, 'kill', '--rehearse', ...order)
    t.equal(found.wouldBeRefused, meant, scope.join(' '))
  }
  t.equal(await askAll(), 0, 'no request was refused')
  t.match(await json(server, 'status'), { switches: [] })
  for (const [scope, meant] of SCOPES.filter((_, i) => DONE.includes(i))) {
    const order = [...scope, '--direction', 'decrypt']
    t.equal((await run(server, 'kill', ...order, '--reason', 'to compare')).code, 0)
    t.equal(await askAll(), meant, `${scope.join(' ')}, done`)
    t.equal((await run(server, 'restore', ...scope, '--reason', 'compared', '--yes')).code, 0)
    await eventually(async () => (await askAll()) === 0)
  }
})

void t.test(
  'a rehearsal is grouped by principal, service, account, key and KMS operation',
  async (t) => {
    const { server, askAll } = await startRecorded(t)
    await askAll()
    const found = await settled(server, 5, '--key-store', 'demo')
    t.match(found, {
      requests: 5,
      wouldBeRefused: 5,
      principals: [
        { name: 'arn:aws:iam::123456789012:user/Alice', requests: 3 },
        { name: BOB, requests: 2 },
      ],
      keys: [{ name: `demo/${KEY_ID}`, requests: 5 }],
    })
    t.match(await json(server, 'credentials', 'list'), [{ uses: 5, lastUsedAt: Number }])
    const { stdout } = await run(server, 'kill', '--rehearse', '--key-store', 'demo')
    t.match(stdout, 'dry run for key store demo, both: no request was refused')
    t.match(stdout, 'of 5 requests, 5 would have been refused')
    for (const text of ['PRINCIPAL', BOB, 'SERVICE', 'ebs', 'ACCOUNT', '444455556666', 'Encrypt']) {
      t.match(stdout, text)
    }
  },
)

void t.test('a past time window includes only the requests within it', async (t) => {
  const { server, askAll } = await startRecorded(t)
  await askAll()
  await settled(server, 5, '--all')
  const past = ['kill', '--rehearse', '--all', '--since', '30m', '--until', '20m']
  t.match(await json(server, ...past), { requests: 0, wouldBeRefused: 0 })
  const days = await json(server, 'kill', '--rehearse', '--all', '--since', '7d')
  t.match(days, { requests: 5, period: { spanMs: 3_600_000 } })
})

void t.test('with --watch, it reports new requests', async (t) => {
  const { server, askAll } = await startRecorded(t)
  const words = ['kill', '--rehearse', '--watch', '--account', '444455556666', '--json']
  const watching = startLatchkey(t, [...words, '--config', server.configFile])
  await eventually(() => watching.stderr().includes('no request is refused'))
  t.equal(await askAll(), 0)
  const [line] = await watching.shows(/^\{.*\}$/m)
  t.match(JSON.parse(line), { state: 'rehearsed', principals: [{ name: BOB }] })
  await watching.ended('SIGINT')
  const stopped = await json<object>(server, 'kill', '--rehearse', '--all', '--until', 'now')
  t.match(stopped, { state: 'rehearsed' })
})

void t.test('flags of a rehearsal without --rehearse kill nothing', async (t) => {
  const { server } = await startRecorded(t)
  for (const flag of [['--watch'], ['--since', '1h']]) {
    const { code, stderr } = await run(server, 'kill', '--all', '--reason', 'x', ...flag)
    t.equal(code, 64)
    t.match(stderr, '--since, --watch and --probes require --rehearse')
  }
  t.match(await json(server, 'status'), { switches: [] })
})

interface Exposures {
  readonly exposures: readonly {
    readonly keyId: string
    readonly service: { readonly name: string; readonly certainty: string }
    readonly requests: number
    readonly lastAt: number
    readonly endsAt?: number
  }[]
}

void t.test('after a kill, exposure reports who holds data keys, and until when', async (t) => {
  const { server, askAll } = await startRecorded(t)
  await askAll()
  await settled(server, 5, '--all')
  const order = ['kill', '--key', KEY_ID, '--reason', 'contract ended']
  const killed = await json<{ switch: { id: string } }>(server, ...order)
  t.equal(await askAll(), CALLERS.length)
  const { exposures } = await json<Exposures>(server, 'exposure', '--switch', killed.switch.id)
  t.same(
    exposures.map(({ service, requests }) => [service.name, service.certainty, requests]).sort(),
    [
      ['Amazon EBS, EC2', 'documented', 2],
      ['Amazon SQS', 'documented', 1],
      ['direct calls to KMS', 'inferred', 1],
    ],
    'refusals after the kill fetched nothing',
  )
  const sqs = exposures.find(({ service }) => service.name === 'Amazon SQS')
  t.equal(sqs?.endsAt, (sqs?.lastAt ?? 0) + 86_400_000)
  const { stdout } = await run(server, 'exposure', '--key-store', 'demo')
  t.match(stdout, 'unknown: until detaching the volume')
  t.match(stdout, /SQS .*until \d{4}-/)
  t.match(stdout, 'source:')
  t.match(await json(server, 'exposure', '--key', 'none'), { exposures: [] })
  const { code, stderr } = await run(server, 'exposure', '--switch', 'none')
  t.equal(code, 1)
  t.match(stderr, 'no switch none is in force')
})

void t.test('status, exposure and the log warn about a kill that is six days old', async (t) => {
  const server = await startTestServer(t, { stopped: true })
  const clock = new FakeClock(Date.now() - 6 * 86_400_000)
  const store = await openStore({ ...(await toStoreOptions(server.config)), clock })
  await kill(store, clock, {
    ...{ scope: { kind: 'key', keyStore: 'demo', keyId: KEY_ID }, direction: 'decrypt' },
    ...{ reason: 'long ago', operator: 'tester' },
  })
  await store.close()
  for (const command of ['status', 'exposure']) {
    const { stdout } = await run(server, command)
    t.match(stdout, /warning: switch \w+ \(key demo\/test-key\) has been in force for 6 days/)
    t.match(await json(server, command), { longKills: [{ scope: 'key demo/test-key' }] })
  }
  await server.start()
  const lines = await server.stopAndReadLog()
  const warnings = lines.filter(({ msg }) =>
    String(msg).startsWith('a kill is approaching seven days'),
  )
  t.match(warnings, [{ level: 40, scope: 'key demo/test-key' }])
  t.equal(warnings.length, 1)
})

void t.test('killing an unknown key succeeds with a warning', async (t) => {
  const { server } = await startRecorded(t)
  const kill = (key: string, ...more: readonly string[]) =>
    run(server, 'kill', '--key', key, '--reason', 'r', ...more)
  const { code, stdout, stderr } = await kill('tset-key')
  t.equal(code, 0)
  t.match(stdout, /^revoked key demo\/tset-key/)
  t.match(stderr, /latchkey: warning: the key store demo has no known key tset-key/)
  t.match(await json(server, 'kill', '--key', 'tset-key', '--reason', 'r', '--no-wait'), {
    state: 'written',
    warning: /tset-key/,
  })
  t.notMatch((await kill(KEY_ID)).stderr, /warning/)
  const typo = await run(server, 'kill', '--key-store', 'typo', '--reason', 'r')
  t.equal(typo.code, 64)
  t.match(typo.stderr, /the configuration has no key store typo; configured: demo/)
  const { switches } = await json<{ switches: readonly object[] }>(server, 'status')
  t.equal(switches.length, 2, 'nothing for the key store')
})
