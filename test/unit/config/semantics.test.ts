/** Tests rules that involve several settings, which no schema can express. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { configFolder, SMALLEST } from '../../support/config.ts'

const withKeyStores = (yaml: string) =>
  SMALLEST.replace('keyStores: [{ name: demo }]', `keyStores: ${yaml}`)
const withListener = (yaml: string) => SMALLEST.replace('listener: {', `listener: { ${yaml},`)

void t.test('two key stores have two names and two prefixes', async (t) => {
  const { faults } = await configFolder(t)
  t.strictSame(
    await faults(
      withKeyStores('[{ name: a, prefix: /x }, { name: b, prefix: /y }, { name: a, prefix: /x }]'),
    ),
    [
      'keyStores[2].name: is already used by keyStores[0]: "a"',
      'keyStores[2].prefix: is already used by keyStores[0]: "/x"',
    ],
  )
  t.strictSame(await faults(withKeyStores('[{ name: a }, { name: b }]')), [
    'keyStores[1].prefix: is already used by keyStores[0]: ""',
  ])
})

void t.test('no two listeners share a port of one address', async (t) => {
  const { faults, load } = await configFolder(t)
  const admin = (host: string) =>
    `admin: { host: '${host}', port: 9000, tokens: [{ name: x, role: viewer, sha256: '${'0'.repeat(64)}' }] }`
  const metrics = (host: string) => `metrics: { host: '${host}', port: 9000 }`
  const ping = (host: string) => withListener(`ping: { host: '${host}', port: 9000 }`)

  for (const [yaml, expected] of [
    [`${ping('0.0.0.0')}\n${metrics('127.0.0.1')}`, ['metrics.port', 'listener.ping.port']],
    [`${ping('127.0.0.1')}\n${metrics('::')}`, ['metrics.port', 'listener.ping.port']],
    [`${ping('127.0.0.1')}\n${admin('localhost')}`, ['admin.port', 'listener.ping.port']],
    [`${SMALLEST}\n${admin('127.0.0.1')}\n${metrics('127.0.0.1')}`, ['metrics.port', 'admin.port']],
  ] as const) {
    const [path, other] = expected
    t.strictSame(
      await faults(yaml),
      [`${path}: expected a port other than that of ${other}, found 9000`],
      yaml,
    )
  }
  for (const yaml of [
    `${ping('127.0.0.2')}\n${metrics('127.0.0.1')}`,
    `${ping('0.0.0.0')}\n${metrics('::1')}`,
    `${ping('127.0.0.1').replace('9000', '0')}\n${metrics('127.0.0.1').replace('9000', '0')}`,
  ])
    await t.resolves(load(yaml), yaml)
})

void t.test('one prefix may start with another', async (t) => {
  const { load } = await configFolder(t)
  const { keyStores } = await load(
    withKeyStores('[{ name: a }, { name: b, prefix: /x }, { name: c, prefix: /x/y }]'),
  )
  t.strictSame(
    keyStores.map(({ prefix }) => prefix),
    ['', '/x', '/x/y'],
  )
})

void t.test('XksProxyUriPath has at most 128 characters', async (t) => {
  const { faults, load } = await configFolder(t)
  const prefix = (length: number) => `/${'p'.repeat(length - 1)}`
  const longest = await load(withKeyStores(`[{ name: a, prefix: ${prefix(117)} }]`))
  t.equal(`${longest.keyStores[0]?.prefix ?? ''}/kms/xks/v1`.length, 128)
  t.strictSame(await faults(withKeyStores(`[{ name: a, prefix: ${prefix(118)} }]`)), [
    'keyStores[0].prefix: expected at most 117 characters, found 118',
  ])
})

void t.test('burst defaults to requestsPerSecond', async (t) => {
  const { load } = await configFolder(t)
  const { keyStores } = await load(
    withKeyStores(
      '[{ name: a, quota: { requestsPerSecond: 9 } }, { name: b, prefix: /b, quota: { requestsPerSecond: 9, burst: 1 } }]',
    ),
  )
  t.strictSame(
    keyStores.map(({ quota }) => quota),
    [
      { requestsPerSecond: 9, burst: 9 },
      { requestsPerSecond: 9, burst: 1 },
    ],
  )
})

void t.test('headers have less time than the whole request', async (t) => {
  const { faults, load } = await configFolder(t)
  for (const headers of ['10s', '11s', '1m'])
    t.strictSame(await faults(withListener(`timeouts: { headers: ${headers} }`)), [
      `listener.timeouts.headers: expected less than listener.timeouts.request (10s), found ${headers}`,
    ])
  await t.resolves(load(withListener('timeouts: { headers: 9999ms }')))
})

void t.test('two listeners need different ports, unless the port is 0', async (t) => {
  const { faults, load } = await configFolder(t)
  t.strictSame(await faults(withListener('ping: { port: 8443 }')), [
    'listener.ping.port: expected a port other than that of listener.port, found 8443',
  ])
  await t.resolves(load(withListener('port: 0, ping: { port: 0 }')))
  await t.resolves(load(withListener('port: 8443, ping: { port: 8080 }')))
})

void t.test('times have inclusive bounds', async (t) => {
  const { faults, load } = await configFolder(t)
  for (const [section, setting, low, high] of [
    ['health', 'interval', 100, 60_000],
    ['limits', 'requestDeadline', 1, 60_000],
    ['sigv4', 'clockSkew', 1000, 3_600_000],
  ] as const) {
    const at = (value: number) => `${SMALLEST}\n${section}: { ${setting}: ${String(value)}ms }`
    await t.resolves(load(at(low)), `${setting} of ${String(low)}`)
    await t.resolves(load(at(high)), `${setting} of ${String(high)}`)
    for (const value of [low - 1, high + 1])
      t.strictSame(await faults(at(value)), [
        `${section}.${setting}: expected a duration from ${String(low)}ms to ${String(high)}ms, found ${String(value)}ms`,
      ])
  }
  const poll = (text: string) => SMALLEST.replace('store: {', `store: { pollInterval: ${text},`)
  await t.resolves(load(poll('10ms')))
  t.strictSame(await faults(poll('9ms')), [
    'store.pollInterval: expected a duration from 10ms to 60000ms, found 9ms',
  ])
})

void t.test('a section with a wrong type does not prevent checks of the others', async (t) => {
  const { faults } = await configFolder(t)
  const text = withKeyStores('[{ name: a }, { name: b }]')
  t.strictSame(await faults(`${text}\nlimits: 5\nsigv4: { clockSkew: 2h }`), [
    'limits: expected settings, one per line, found a number',
    'keyStores[1].prefix: is already used by keyStores[0]: ""',
    'sigv4.clockSkew: expected a duration from 1000ms to 3600000ms, found 2h',
  ])
})

void t.test(
  'mTLS by region accepts the common name that KMS presents in that region',
  async (t) => {
    const { load, faults } = await configFolder(t)
    const { listener } = await load(
      withListener('clientCertificate: { ca: kms.pem, regions: [eu-west-1], subjects: [other] }'),
    )
    t.strictSame(listener.clientCertificate?.subjects, ['cks.kms.eu-west-1.amazonaws.com', 'other'])
    t.strictSame(await faults(withListener('clientCertificate: { ca: kms.pem }')), [
      'listener.clientCertificate: expected regions, subjects or both',
    ])
  },
)

void t.test(
  'terminators must be named, and must present a certificate unless they run on this host',
  async (t) => {
    const { load, faults } = await configFolder(t)
    const at = 'listener.clientCertificate.forwardedBy'
    const forwardedBy = (text: string) =>
      withListener(`clientCertificate: { ca: kms.pem, regions: [eu-west-1], forwardedBy: ${text} }`)
    const shown = 'certificate: { ca: own.pem, subjects: [envoy] }'
    const { listener } = await load(forwardedBy(`{ peers: [10.0.0.1], ${shown} }`))
    t.match(listener.clientCertificate?.forwardedBy, {
      peers: ['10.0.0.1'],
      certificate: { caFile: /own\.pem$/, subjects: ['envoy'] },
      header: 'x-forwarded-client-cert',
      format: 'xfcc',
    })
    await t.resolves(load(forwardedBy('{ peers: [127.0.0.1, 127.0.0.0/8, "::1", "::1/128"] }')))
    for (const peer of ['10.0.0.1', '127.0.0.0/7', '::/127', '::1/127', '::ffff:10.0.0.1']) {
      t.strictSame(await faults(forwardedBy(`{ peers: [127.0.0.1, "${peer}"] }`)), [
        `${at}.certificate: is required when a peer is not loopback (${peer})`,
      ])
    }
    t.strictSame(await faults(forwardedBy(`{ peers: [envoy], ${shown} }`)), [
      `${at}.peers[0]: expected an address or a network, found "envoy"`,
    ])
    const subject = (text: string) => forwardedBy(`{ peers: ["::1"], ${text} }`)
    t.strictSame(await faults(subject('format: subject-dn')), [
      `${at}.verifyHeader: is required with the format subject-dn`,
    ])
    t.strictSame(await faults(subject('verifyHeader: x-verify')), [
      `${at}.verifyHeader: applies to the format subject-dn only: Envoy has no such header`,
    ])
    t.strictSame(await faults(subject('format: subject-dn, header: x-a, verifyHeader: x-a')), [
      `${at}.verifyHeader: expected a header other than x-a`,
    ])
    for (const name of ['authorization', 'X-Subject', 'x-a b']) {
      t.strictSame(await faults(subject(`header: "${name}"`)), [
        `${at}.header: expected a lower-case name that begins with x-, found ${JSON.stringify(name)}`,
      ])
    }
  },
)

void t.test('peers are addresses and networks', async (t) => {
  const { faults } = await configFolder(t)
  const peers = '["10.0.0.1", "10.0.0.0/8", "fd00::/8", "10.0.0.0/33", "balancer", "10.0.0.0/8/8"]'
  t.strictSame(await faults(withListener(`proxyProtocol: { peers: ${peers} }`)), [
    'listener.proxyProtocol.peers[3]: expected an address or a network, found "10.0.0.0/33"',
    'listener.proxyProtocol.peers[4]: expected an address or a network, found "balancer"',
    'listener.proxyProtocol.peers[5]: expected an address or a network, found "10.0.0.0/8/8"',
  ])
})
