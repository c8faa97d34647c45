/** Tests `latchkey config …`: it reports every error at once, and prints the JSON Schema for editors. */
// SPDX-License-Identifier: Apache-2.0
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import t from 'tap'
import { parse } from 'yaml'
import { latchkey, latchkeyHere, temporaryFolder, workspace } from '../support/cli.ts'
import { SMALLEST } from '../support/config.ts'
import { read } from '../support/repository.ts'

const FAULTY = `
listener: { port: 70000, tls: { certificate: "" } }
keyStores: [{ name: demo, prefix: demo }, { name: demo }]
store: { masterKey: { file: a, passphrase: { env: B } } }
lisener: 1
`

const PATHS = [
  'keyStores[0].prefix',
  'lisener',
  'listener.port',
  'listener.tls.certificate',
  'listener.tls.privateKey',
  'store',
  'store.masterKey',
]

interface Report {
  readonly error: {
    readonly code: string
    readonly file: string
    readonly faults: readonly { readonly path: string; readonly message: string }[]
  }
}

void t.test('check reports a valid file and its key stores', async (t) => {
  const { run, configFile, json } = await workspace(t, { withoutStore: true })
  t.strictSame(await run('config', 'check', '--offline'), {
    code: 0,
    stdout: `${configFile} is valid. Key stores:\n  demo: /demo/kms/xks/v1\n`,
    stderr: '',
  })
  t.strictSame(await json('config', 'check', '--offline'), {
    valid: true,
    keyStores: [{ name: 'demo', uriPath: '/demo/kms/xks/v1' }],
    warnings: [],
  })
})

void t.test('all errors are reported together, with their paths and exit code 78', async (t) => {
  const file = join(await temporaryFolder(t), 'latchkey.yaml')
  await writeFile(file, FAULTY)
  const text = await latchkeyHere(['config', 'check', '--config', file])
  t.equal(text.code, 78)
  t.equal(text.stdout, '')
  const lines = text.stderr.trimEnd().split('\n')
  const ofFaults = lines.filter((line) => line.startsWith(`latchkey: error: ${file}: `))
  t.same(
    ofFaults.map((line) => line.slice(`latchkey: error: ${file}: `.length).split(':')[0]).sort(),
    PATHS,
  )
  t.ok(lines.some((line) => line.endsWith('did you mean listener?')))

  const json = await latchkeyHere(['config', 'check', '--config', file, '--json'])
  t.equal(json.code, 78)
  const { error } = JSON.parse(json.stderr) as Report
  t.equal(error.code, 'CONFIG_INVALID')
  t.equal(error.file, file)
  t.same(error.faults.map(({ path }) => path).sort(), PATHS)
})

void t.test(
  'every command that reads the file rejects an invalid one in the same way',
  async (t) => {
    const folder = await temporaryFolder(t)
    const file = join(folder, 'latchkey.yaml')
    await writeFile(file, FAULTY)
    const { stderr } = await latchkeyHere(['config', 'check', '-c', file])
    for (const words of [
      ['serve'],
      ['keys', 'list'],
      ['keys', 'create', 'a'],
      ['credentials', 'list'],
    ])
      t.strictSame(
        await latchkeyHere([...words, '--config', file]),
        { code: 78, stdout: '', stderr },
        words.join(' '),
      )
    t.match(await latchkeyHere(['init', '--dir', folder]), { code: 78, stdout: '' })
  },
)

void t.test('two key stores with the same name cause one error', async (t) => {
  const file = join(await temporaryFolder(t), 'latchkey.yaml')
  await writeFile(file, SMALLEST.replace('[{ name: demo }]', '[{ name: demo }, { name: demo }]'))
  const { code, stderr } = await latchkeyHere(['config', 'check', '-c', file])
  t.equal(code, 78)
  t.match(stderr, 'keyStores[1]')
})

void t.test('a missing file, invalid YAML and an empty file each have a message', async (t) => {
  const folder = await temporaryFolder(t)
  const file = join(folder, 'latchkey.yaml')
  const missing = await latchkeyHere(['config', 'check', '-c', file])
  t.equal(missing.code, 78)
  t.match(missing.stderr, file)
  for (const text of ['', 'listener: [', '- 1', 'listener: {}\nlistener: {}\n', '\t']) {
    await writeFile(file, text)
    const ended = await latchkeyHere(['config', 'check', '-c', file])
    t.equal(ended.code, 78, JSON.stringify(text))
    t.match(ended.stderr, /^latchkey: error: /)
    t.notMatch(ended.stderr, /\n {4}at /)
  }
})

void t.test('the file comes from --config, LATCHKEY_CONFIG, or the current folder', async (t) => {
  const { folder, configFile } = await workspace(t, { withoutStore: true })
  const other = join(folder, 'other.yaml')
  await writeFile(other, (await readFile(configFile, 'utf8')).replaceAll('demo', 'other'))
  const check = ['config', 'check', '--offline']
  t.match((await latchkey(t, check, { cwd: folder })).stdout, 'demo: /demo/')
  const environment = { LATCHKEY_CONFIG: other }
  t.match((await latchkeyHere(check, environment)).stdout, 'other: /other/')
  t.match((await latchkeyHere([...check, '-c', configFile], environment)).stdout, 'demo: /demo/')
})

void t.test('schema prints the JSON Schema of docs/, which accepts valid files only', async (t) => {
  const { code, stdout, stderr } = await latchkeyHere(['config', 'schema'])
  t.equal(code, 0)
  t.equal(stderr, '')
  t.strictSame(JSON.parse(stdout), JSON.parse(read('docs/latchkey.schema.json')))
  const ajv = new Ajv({
    strict: true,
    strictRequired: false,
    allowUnionTypes: true,
    allErrors: true,
  })
  // Editors support this nonstandard keyword: they show its message instead of the regular expression.
  ajv.addKeyword('patternErrorMessage')
  const validate = ajv.compile(JSON.parse(stdout) as object)
  const judge = (text: string) => validate(parse(text))
  t.ok(judge(SMALLEST), JSON.stringify(validate.errors))
  t.ok(judge(read('test/fixtures/config/0.1.0.yaml')), JSON.stringify(validate.errors))
  t.notOk(judge(FAULTY))
  const places = new Set(validate.errors?.map(({ instancePath }) => instancePath))
  for (const place of ['', '/listener/port', '/listener/tls', '/keyStores/0/prefix'])
    t.ok(places.has(place), `a fault at ${place === '' ? 'the top' : place}`)
})
