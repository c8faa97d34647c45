/** Tests which folder an instance uses for its high-water mark and sentinel file if the store is in PostgreSQL. */
// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { findStateFolder } from '../../../src/config/state-folder.ts'
import { configFolder } from '../../support/config.ts'

function folders(t: Test) {
  const [given, system, etc] = ['given', 'system', 'etc'].map((name) => join(t.testdir(), name))
  if (given === undefined || system === undefined || etc === undefined) throw new TypeError('three')
  return { given, system, etc }
}

const mark = (folder: string) => {
  writeFileSync(join(folder, 'latchkey.epoch'), '')
}

void t.test('the state folder is the first writable one', (t) => {
  const { given, system, etc } = folders(t)
  const environment = { STATE_DIRECTORY: `${given}:/elsewhere` }
  t.equal(
    findStateFolder(etc, environment, system),
    given,
    'if none is writable, the first, which serve names in its error',
  )
  mkdirSync(etc)
  t.equal(findStateFolder(etc, {}, system), etc)
  mkdirSync(system)
  t.equal(findStateFolder(etc, {}, system), system)
  t.equal(findStateFolder(etc, environment, system), system)
  mkdirSync(given)
  t.equal(findStateFolder(etc, environment, system), given)
  t.equal(findStateFolder(etc, { STATE_DIRECTORY: '' }, system), system)
  t.end()
})

void t.test('an existing high-water file keeps its folder', (t) => {
  const { given, system, etc } = folders(t)
  for (const folder of [given, system, etc]) mkdirSync(folder)
  const environment = { STATE_DIRECTORY: given }
  mark(etc)
  t.equal(findStateFolder(etc, environment, system), etc)
  mark(given)
  t.equal(findStateFolder(etc, environment, system), given)
  t.end()
})

void t.test('with PostgreSQL both files are there; with a file they are beside it', async (t) => {
  const { folder, load } = await configFolder(t)
  const top = `
listener: { tls: { certificate: server.crt, privateKey: server.key } }
keyStores: [{ name: demo }]
store:
  masterKey: { file: master.key }
`
  const server = `${top}  postgres: { host: localhost, database: d, user: u }\n`
  const { control } = await load(server, { STATE_DIRECTORY: folder })
  t.match(control, {
    sentinelFile: join(folder, 'latchkey.block'),
    highWaterFile: join(folder, 'latchkey.epoch'),
  })
  const file = await load(`${top}  path: data/store.db\n`, { STATE_DIRECTORY: '/elsewhere' })
  t.equal(file.control.highWaterFile, join(folder, 'data/store.db.epoch'))
})
