/**
 * Validates a log's OCSF export with two Python packages: ocsf-json-schema, which contains the published schema, and
 * jsonschema. Also checks that the schema in test/vectors/ocsf equals the published one. Installs the packages from
 * PyPI into a virtual environment in the temporary folder, unless LATCHKEY_VENV names one. Run by hand:
 *
 *     node .test-build/test/by-hand/audit-ocsf.js
 */
// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { looseLog } from '../support/audit.ts'
import { latchkeyHere } from '../support/cli.ts'
import { OCSF_SCHEMA, recordsOfEveryKind } from '../support/ocsf.ts'

t.setTimeout(300_000)

const run = promisify(execFile)
const VENV = process.env['LATCHKEY_VENV'] ?? join(tmpdir(), 'latchkey-ocsf')
const PYTHON = join(VENV, 'bin/python')
const SCHEMA = 'import json; from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema'
const VALIDATE = `${SCHEMA}
import sys, jsonschema
ocsf = OcsfJsonSchemaEmbedded(get_ocsf_schema('1.5.0'))
count = 0
for line in open(sys.argv[1]):
    event = json.loads(line)
    name = ocsf.lookup_class_name_from_uid(event['class_uid'])
    schema = ocsf.get_class_schema(name, event['metadata']['profiles'])
    jsonschema.validate(event, schema, jsonschema.Draft202012Validator)
    count += 1
print(count)`
const PRINT = `${SCHEMA}
ocsf = OcsfJsonSchemaEmbedded(get_ocsf_schema('1.5.0'))
print(json.dumps(ocsf.get_class_schema('api_activity', ['cloud'])))`

void t.test('ocsf-json-schema validates the export', async (t) => {
  if (!existsSync(PYTHON)) {
    await run('python3', ['-m', 'venv', VENV])
    const packages = ['ocsf-json-schema==1.2.0', 'jsonschema==4.26.0']
    await run(PYTHON, ['-m', 'pip', 'install', '--quiet', ...packages])
  }
  const { log, folder, publicKey, stop } = await looseLog(t)
  const records = recordsOfEveryKind()
  for (const record of records) log.record(record)
  await stop()
  const words = ['audit', 'export', '--format', 'ocsf', '--folder', folder]
  const { stdout, stderr } = await latchkeyHere([...words, '--public-key', publicKey])
  t.equal(stderr, '')
  const file = join(folder, 'export.jsonl')
  writeFileSync(file, stdout)
  t.equal((await run(PYTHON, ['-c', VALIDATE, file])).stdout, `${String(records.length)}\n`)
  writeFileSync(file, stdout.replace('"class_name"', '"class_nom"'))
  await t.rejects(run(PYTHON, ['-c', VALIDATE, file]), /Additional properties are not allowed/)
  t.same(
    JSON.parse((await run(PYTHON, ['-c', PRINT], { maxBuffer: 1 << 24 })).stdout),
    JSON.parse(readFileSync(OCSF_SCHEMA, 'utf8')),
  )
})
