/** Tests that the configuration's JSON Schema and documentation match what the program accepts. */
// SPDX-License-Identifier: Apache-2.0
import { Ajv } from 'ajv'
import t from 'tap'
import { parse } from 'yaml'
import { describeAsJsonSchema, describeAsMarkdown } from '../../../src/config/describe.ts'
import { CONFIG_SCHEMA } from '../../../src/config/schema.ts'
import type { Schema } from '../../../src/config/setting.ts'
import { configFolder, SMALLEST } from '../../support/config.ts'
import { listFiles, read, tableRows } from '../../support/repository.ts'

const DOCUMENT = read('docs/configuration.md')
/** The validator ignores unknown keywords, as an editor does. */
const validate = new Ajv({ allErrors: true, strict: false }).compile(
  JSON.parse(describeAsJsonSchema()) as object,
)
const EXAMPLES = [...DOCUMENT.matchAll(/^```yaml\n([\s\S]*?)^```/gm)].map(([, yaml = '']) => yaml)

/** Returns the dotted paths of all settings below `schema`, as written in the documents. */
function settingsOf(schema: Schema, path: string): readonly string[] {
  const holder = schema.items?.type === 'object' ? schema.items : schema
  const prefix = holder === schema ? path : `${path}[]`
  return Object.entries(holder.properties ?? {}).flatMap(([name, child]) => {
    const own = prefix === '' ? name : `${prefix}.${name}`
    return [own, ...settingsOf(child, own)]
  })
}

const SETTINGS = settingsOf(CONFIG_SCHEMA, '')

void t.test('docs/latchkey.schema.json is that of this release', (t) => {
  t.equal(read('docs/latchkey.schema.json'), describeAsJsonSchema())
  t.match(JSON.parse(describeAsJsonSchema()), {
    $schema: 'http://json-schema.org/draft-07/schema#',
    additionalProperties: false,
  })
  t.end()
})

void t.test(
  'the schema accepts every example, and every configuration that a release accepted',
  (t) => {
    const released = listFiles('test/fixtures/config').map(read)
    const whole = EXAMPLES.filter((yaml) => yaml.includes('keyStores:'))
    t.ok(whole.length > 0 && released.length > 0)
    for (const yaml of [...whole, ...released, SMALLEST])
      t.ok(validate(parse(yaml)), JSON.stringify(validate.errors))
    t.end()
  },
)

void t.test(
  'the example loads, and has every setting but the other kinds of secrets, tokens and headers',
  async (t) => {
    const { load } = await configFolder(t)
    const [example = ''] = EXAMPLES
    await load(example, {
      ...{ HSM_PIN: '1234', SLACK_URL: 'https://hooks.slack.com/x' },
      WEBHOOK_KEY: Buffer.alloc(32).toString('base64'),
    })
    const named = (value: unknown, path: string): readonly string[] => {
      if (Array.isArray(value)) return value.flatMap((item) => named(item, `${path}[]`))
      if (typeof value !== 'object' || value === null) return []
      return Object.entries(value).flatMap(([name, child]) => {
        const own = path === '' ? name : `${path}.${name}`
        return [own, ...named(child, own)]
      })
    }
    const has = new Set(named(parse(example), ''))
    t.strictSame(
      SETTINGS.filter((setting) => !has.has(setting)),
      [
        'listener.clientCertificate.mode',
        'listener.clientCertificate.forwardedBy.header',
        'listener.clientCertificate.forwardedBy.format',
        'listener.clientCertificate.forwardedBy.verifyHeader',
        'backends[].parameters',
        'backends[].tokens[].serial',
        'backends[].tokens[].slot',
        'backends[].tokens[].pin.file',
        'backends[].tokens[].pin.exec',
        'backends[].hedge',
        'backends[].hedge.after',
        ...SETTINGS.filter((setting) => setting.startsWith('store.postgres')),
        'store.masterKey.passphrase',
        'store.masterKey.passphrase.file',
        'store.masterKey.passphrase.env',
        'store.masterKey.passphrase.exec',
        'store.masterKey.pkcs11',
        'store.masterKey.pkcs11.backend',
        'store.masterKey.pkcs11.label',
        'admin.names',
        'admin.clientCertificates.subjects[].keyStores',
        'admin.clientCertificates.subjects[].person',
        'admin.tokens[].keyStores',
        'admin.tokens[].person',
        'admin.oidc',
        'admin.oidc.issuer',
        'admin.oidc.audience',
        'admin.oidc.clientId',
        'admin.oidc.scope',
        'admin.oidc.ca',
        'admin.oidc.nameClaim',
        'admin.oidc.rolesClaim',
        'admin.oidc.roles',
        'admin.oidc.roles[].value',
        'admin.oidc.roles[].role',
        'admin.oidc.roles[].keyStores',
        'admin.oidc.clockSkew',
        'webhooks[].to.generic.key.file',
        'webhooks[].to.generic.key.exec',
        'webhooks[].to.slack.url.file',
        'webhooks[].to.slack.url.exec',
      ],
    )
  },
)

void t.test('the schema refuses an unknown setting, at every level', (t) => {
  const [example = ''] = EXAMPLES
  const objects = (value: unknown): readonly Record<string, unknown>[] => {
    if (Array.isArray(value)) return value.flatMap(objects)
    if (typeof value !== 'object' || value === null) return []
    return [value as Record<string, unknown>, ...Object.values(value).flatMap(objects)]
  }
  const whole: unknown = parse(example)
  const places = objects(whole)
  t.ok(places.length >= 14, `${String(places.length)} places`)
  for (const place of places) {
    place['colour'] = 'blue'
    t.notOk(validate(whole))
    const keywords = validate.errors?.map(({ keyword }) => keyword)
    t.ok(keywords?.includes('additionalProperties'), JSON.stringify(keywords))
    delete place['colour']
  }
  t.ok(validate(whole))
  t.end()
})

void t.test('docs/configuration.md has a row for each setting, and no other', (t) => {
  t.ok(DOCUMENT.endsWith(describeAsMarkdown()))
  const rows = tableRows(describeAsMarkdown()).filter(([first]) => first !== 'setting')
  const sections = Object.keys(CONFIG_SCHEMA.properties ?? {})
  t.strictSame(
    rows.map(([setting = '']) => setting.replaceAll('`', '')),
    SETTINGS.filter((setting) => !sections.includes(setting) || setting === 'workers'),
  )
  for (const [setting, type, , meaning] of rows)
    t.ok(type !== '' && meaning !== '', `${String(setting)} says what it is`)
  for (const name of sections) t.match(DOCUMENT, `\n## \`${name}\`\n`)
  t.end()
})

void t.test('a row has the type and the default', (t) => {
  const row = (setting: string) =>
    tableRows(describeAsMarkdown()).find(([first]) => first === `\`${setting}\``)
  t.match(row('workers'), [/./, 'number, 1 to 256, or `auto`', '`1`', /Example: `auto`\.$/])
  t.match(row('listener.port'), [/./, 'number, 0 to 65,535', '`8443`', /^Port to bind/])
  t.match(row('listener.tls.certificate'), [/./, 'string', '**required**', /^PEM file/])
  t.match(row('listener.http2'), [/./, 'boolean', '`true`', /ALPN/])
  t.match(row('health.interval'), [/./, 'duration', '`10s`', /^Interval/])
  t.match(row('keyStores[].prefix'), [/./, 'string', 'empty', /Example: `\/demo`\.$/])
  t.match(row('keyStores[].regions'), [/./, 'list of strings', '', /Example: `\[eu-west-1\]`\.$/])
  t.match(row('logging.level'), [/./, '`debug`, `info`, `warn`, `error`', '`info`', /./])
  t.match(row('store.masterKey'), [/./, 'one of', '**required**', /./])
  t.end()
})
