/** Tests that all errors in a file are reported together, each with its location and in the file's own terms. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { ConfigError } from '../../../src/config/faults.ts'
import { loadConfig } from '../../../src/config/load.ts'
import { configFolder, SMALLEST } from '../../support/config.ts'

void t.test('each of nine faults has a line of its own', async (t) => {
  const { faults } = await configFolder(t)
  const text = `
listener:
  port: 70000
  tls: { certificate: "" }
keyStores:
  - name: Payroll
    prefix: payroll/
store:
  path: 7
  masterKey: {}
sigv4: { clockSkew: 1ms }
colour: blue
`
  t.strictSame(
    [...(await faults(text))].sort(),
    [
      'colour: is not a known setting; expected one of workers, listener, keyStores, backends, store, control, policy, audit, tripwire, admin, limits, sigv4, health, activity, logging, metrics, tracing, webhooks',
      'keyStores[0].name: expected 1 to 64 lower-case letters, digits and hyphens, not starting with a hyphen, found "Payroll"',
      'keyStores[0].prefix: expected segments of letters, digits, hyphens and underscores, each with a leading slash, such as /demo, found "payroll/"',
      'listener.port: expected at most 65535, found 70000',
      'listener.tls.certificate: is empty',
      'listener.tls.privateKey: is missing',
      'sigv4.clockSkew: expected a duration from 1000ms to 3600000ms, found 1ms',
      'store.masterKey: expected exactly one of file, passphrase, pkcs11',
      'store.path: expected a string, found a number; put the value in quotes',
    ].sort(),
  )
})

/** YAML to append to a valid configuration, and the resulting error. */
const ONE_FAULT: readonly (readonly [yaml: string, fault: string])[] = [
  [
    'limits: { maxPlaintextBytes: 4299 }',
    'limits.maxPlaintextBytes: expected at least 4300, found 4299',
  ],
  [
    'limits: { maxPlaintextBytes: 1048577 }',
    'limits.maxPlaintextBytes: expected at most 1048576, found 1048577',
  ],
  ['limits: { maxAadBytes: 8191 }', 'limits.maxAadBytes: expected at least 8192, found 8191'],
  ['limits: { maxAadBytes: 65536 }', 'limits.maxAadBytes: expected at most 65535, found 65536'],
  ['limits: { maxAadBytes: 9000.5 }', 'limits.maxAadBytes: expected a whole number, found 9000.5'],
  ['limits: { maxAadBytes: "9000" }', 'limits.maxAadBytes: expected a whole number, found "9000"'],
  ['workers: 0', 'workers: expected at least 1, found 0'],
  ['workers: 257', 'workers: expected at most 256, found 257'],
  ['workers: many', 'workers: expected a whole number or auto, found "many"'],
  ['workers: 2.5', 'workers: expected a whole number or auto, found 2.5'],
  ['workers: true', 'workers: expected a whole number or auto, found true'],
  ['workers: [2]', 'workers: expected a whole number or auto, found a list'],
  ['limits: 5', 'limits: expected settings, one per line, found a number'],
  ['limits:', 'limits: expected settings, one per line, found nothing'],
  ['limits: [1]', 'limits: expected settings, one per line, found a list'],
  [
    'logging: { level: trace }',
    'logging.level: expected one of debug, info, warn, error, found "trace"',
  ],
  ['logging: { levle: info }', 'logging.levle: is not a known setting; did you mean level?'],
  ['helth: {}', 'helth: is not a known setting; did you mean health?'],
  [
    'health: { colour: red }',
    'health.colour: is not a known setting; expected one of interval, fleetSize',
  ],
  ['health: { fleetSize: 0 }', 'health.fleetSize: expected at least 1, found 0'],
  ...['5', '"5"', '5 s', '5sec', '-5s', '1.5s', '5S', 's', '"5s "', '5w'].map((text) => {
    const found = 'a duration such as 200ms, 90s, 5m, 12h or 30d'
    const shown = text === '5' ? '5' : `"${text.replaceAll('"', '')}"`
    return [
      `health: { interval: ${text} }`,
      `health.interval: expected ${found}, found ${shown}`,
    ] as const
  }),
]

void t.test('one fault gives one line', async (t) => {
  const { faults } = await configFolder(t)
  for (const [yaml, fault] of ONE_FAULT)
    t.strictSame(await faults(`${SMALLEST}\n${yaml}`), [fault], yaml)
})

void t.test('a long value is truncated', async (t) => {
  const { faults } = await configFolder(t)
  const [fault = ''] = await faults(`${SMALLEST}\nlogging: { level: ${'x'.repeat(500)} }`)
  t.equal(
    fault,
    `logging.level: expected one of debug, info, warn, error, found "${'x'.repeat(59)}…`,
  )
})

void t.test('every missing required section is named', async (t) => {
  const { faults } = await configFolder(t)
  const expected = ['listener: is missing', 'keyStores: is missing', 'store: is missing']
  t.strictSame(await faults('{}'), expected)
  for (const nothing of ['', '# only a comment\n', 'null'])
    t.strictSame(await faults(nothing), [': expected settings, one per line, found nothing'])
  t.strictSame(await faults('keyStores: []\n'), [
    'listener: is missing',
    'store: is missing',
    'keyStores: is empty',
  ])
})

void t.test('a fault in YAML is reported with its line and column', async (t) => {
  const { faults } = await configFolder(t)
  t.strictSame(await faults('listener:\n  port: 1\n\tport: 2\n'), [
    ': Tabs are not allowed as indentation at line 3, column 1',
  ])
  const [open = ''] = await faults('listener: [1, 2\n')
  t.match(open, /^: Flow sequence .* at line 2, column 1$/)
  const several = await faults('a: [\nb: ]\n"c\n')
  t.ok(several.length > 1, 'all of them')
  for (const fault of several) t.match(fault, /at line \d+, column \d+$/)
})

void t.test('a setting that appears twice is a fault', async (t) => {
  const { faults } = await configFolder(t)
  t.strictSame(await faults(`${SMALLEST}\nlogging: { level: info }\nlogging: { level: warn }\n`), [
    ': Map keys must be unique at line 7, column 1',
  ])
  t.strictSame(await faults(`${SMALLEST}\nlogging:\n  level: info\n  level: warn\n`), [
    ': Map keys must be unique at line 8, column 3',
  ])
})

void t.test('an unknown tag is a fault, because it would be read as text', async (t) => {
  const { faults } = await configFolder(t)
  const [fault = ''] = await faults(`${SMALLEST}\nlogging: { level: !include other.yaml }\n`)
  t.match(fault, /^: Unresolved tag: !include at line 6, column \d+$/)
})

void t.test('aliases may be used, but may not expand without limit', async (t) => {
  const { faults, load } = await configFolder(t)
  const config = await load(
    `${SMALLEST}\nhealth: { interval: &ten 10s }\nsigv4: { clockSkew: *ten }\n`,
  )
  t.equal(config.sigv4.clockSkewMs, 10_000)
  const levels = Array.from({ length: 9 }, (_, i) => {
    const items = Array.from({ length: 9 }, () => (i === 0 ? 'x' : `*a${String(i - 1)}`))
    return `a${String(i)}: &a${String(i)} [${items.join(', ')}]`
  })
  t.strictSame(await faults(levels.join('\n')), [': has too many aliases'])
})

void t.test('names of JavaScript built-ins are unknown settings, like other names', async (t) => {
  const { faults } = await configFolder(t)
  for (const name of ['__proto__', 'constructor', 'toString']) {
    const [fault = ''] = await faults(`${SMALLEST}\n${name}: { polluted: true }\n`)
    t.match(fault, new RegExp(`^${name}: is not a known setting`))
  }
  t.equal(({} as Record<string, unknown>)['polluted'], undefined)
})

void t.test('a missing file is named, with a hint', async (t) => {
  const { file, folder } = await configFolder(t)
  const error = await loadConfig(file).catch((thrown: unknown) => thrown)
  t.ok(error instanceof ConfigError)
  t.match(error, {
    code: 'CONFIG_INVALID',
    file,
    message: `${file}: the file does not exist`,
    hint: /--config .*latchkey init/,
  })
  await t.rejects(loadConfig(folder), { message: `${folder}: cannot be read (EISDIR)` })
})

void t.test('the error as a whole has the file and every fault in one line', async (t) => {
  const { file, load } = await configFolder(t)
  await t.rejects(load(`${SMALLEST}\nlimits: { maxAadBytes: 1 }\nhelth: {}`), {
    code: 'CONFIG_INVALID',
    message: `${file}: helth: is not a known setting; did you mean health?; limits.maxAadBytes: expected at least 8192, found 1`,
  })
})

void t.test(
  'several documents in one file, and a serial that YAML reads as a number',
  async (t) => {
    const { faults } = await configFolder(t)
    t.strictSame(await faults(`${SMALLEST}\n---\n${SMALLEST}`), [
      ': expected one document, found several, separated by "---"',
    ])
    const backend =
      '{ name: a, kind: pkcs11, module: m.so, tokens: [{ serial: 0123, pin: { env: P } }] }'
    t.strictSame(await faults(`${SMALLEST}\nbackends: [${backend}]`, { P: '1' }), [
      'backends[0].tokens[0].serial: expected a string, found a number; put the value in quotes',
    ])
  },
)
