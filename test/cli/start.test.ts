/** Tests which packages a command loads at startup, because startup takes most of a command's run time. */
// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { latchkey, temporaryFolder } from '../support/cli.ts'

/** Returns the packages whose code ran, according to the V8 coverage written at process exit. */
async function packagesOf(t: Test, ...words: readonly string[]): Promise<readonly string[]> {
  const folder = await temporaryFolder(t)
  await latchkey(t, words, { environment: { NODE_V8_COVERAGE: folder } })
  const [file = '', ...others] = readdirSync(folder)
  t.same(others, [], 'one process')
  const { result } = JSON.parse(readFileSync(join(folder, file), 'utf8')) as {
    readonly result: readonly { readonly url: string }[]
  }
  t.ok(
    result.some(({ url }) => url.endsWith('/src/main.js')),
    'the program itself is seen',
  )
  const names = result.map(({ url }) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1])
  return [...new Set(names.filter((name) => name !== undefined))].sort()
}

void t.test('help, the version and a misspelt command load no package', async (t) => {
  for (const words of [['--help'], ['version'], ['keys', '--help'], ['keyz']])
    t.same(await packagesOf(t, ...words), [], words.join(' '))
})

void t.test('a command that reads a configuration loads no server', async (t) => {
  const loaded = await packagesOf(t, 'config', 'check', '--config', '/nowhere/latchkey.yaml')
  t.ok(loaded.includes('yaml') && loaded.includes('ajv'), loaded.join(', '))
  const heavy = ['fastify', 'pg', '@peculiar/webcrypto', '@aws-sdk/client-kms', 'node-forge']
  t.same(
    heavy.filter((name) => loaded.includes(name)),
    [],
  )
})
