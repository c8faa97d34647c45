/** Runs the complete product demo against a real server in a separate process. */
// SPDX-License-Identifier: Apache-2.0
import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { prepareDemo } from '../../src/tools/demo/demo.ts'
import {
  latchkey,
  latchkeyHere,
  startLatchkey,
  temporaryFolder,
  workspace,
} from '../support/cli.ts'
import { read } from '../support/repository.ts'
import { eventually } from '../support/server.ts'
import { openPage, shownCommands } from '../support/shown-commands.ts'

const page = openPage('docs/simulate.md')

/** The long deadline keeps the proxy from refusing delayed requests; other tests cover those refusals. */
const PATIENT = 'limits: { requestDeadline: 20s }\n'

/** KMS times out after 250 ms, and other tests may occupy the processor for longer. */
const PATIENTLY = ['--timeout', '10s']

interface Result {
  readonly passed: number
  readonly failed: number
  readonly steps: readonly { step: string; ok: boolean; detail: string }[]
}

void t.test('against quickstart', async (t) => {
  const parent = await temporaryFolder(t)
  const folder = join(parent, 'demo')
  const { configFile } = await prepareDemo(folder, 0, { withConsole: true })
  await appendFile(configFile, PATIENT)
  const server = startLatchkey(t, ['quickstart', '--dir', folder, '--port', '0'])
  const [, endpoint = ''] = await server.shows(/^Latchkey serves (https:\/\/localhost:\d+)\//m)
  const words = ['simulate', '--demo', folder, '--endpoint', endpoint, ...PATIENTLY]

  await t.test('simulate runs the complete scenario', async (t) => {
    const { code, stdout, stderr } = await latchkey(t, words)
    t.equal(code, 0, stderr)
    t.match(stdout, /✓ latchkey kill +revoked in \d+ ms: 1 instance can no longer serve requests/)
    t.match(stdout, /2 of 6 readable \(memory\), 4 refused: KMSInvalidStateException/)
    t.match(stdout, /0 of 6 readable, 6 refused: KMSInvalidStateException/)
    t.match(stdout, /6 of 6 readable; nothing was lost/)
    t.match(stdout, /\nAll 18 steps passed\.\n$/)
    t.notMatch(stdout, '✗')
    t.notMatch(stdout, '\u001b', 'no colours where no terminal is')
  })

  await t.test('interrupting it during the kill restores access', async (t) => {
    const stopped = startLatchkey(t, words)
    await stopped.shows(/✓ latchkey kill/)
    const { code, stdout } = await stopped.ended('SIGINT')
    t.equal(code, 1)
    t.notMatch(stdout, 'You restore access')
  })

  await t.test(
    'with --serve, applications keep running, and report when they are stopped',
    async (t) => {
      const flags = ['--endpoint', endpoint, ...PATIENTLY]
      const serving = startLatchkey(t, [...page.take('simulate --serve'), ...flags], {
        cwd: parent,
      })
      await serving.shows(/^Still running: documents \(S3\), orders \(DynamoDB\), payroll\./m)
      await serving.shows(/^token +\S+\/console\.token$/m)
      const config = ['--config', configFile]
      const killed = await latchkeyHere(['kill', '--all', '--reason', 'a test', ...config])
      t.equal(killed.code, 0, killed.stderr)
      await serving.shows(/payroll: refused, KMSInvalidStateException$/m)
      const yes = ['--reason', 'a test', '--yes']
      t.equal((await latchkeyHere(['restore', '--all', ...yes, ...config])).code, 0)
      await serving.shows(/payroll: works again$/m)
      // The proxy writes usage counts in the background. In a demo, it also counts requests from simulate.
      await eventually(async () => {
        const { stdout } = await latchkeyHere(['exposure', '--json', ...config])
        return stdout.includes('assumed-role/DocumentService')
      })
      t.equal((await serving.ended('SIGTERM')).code, 0)
    },
  )

  await t.test('finds the demo, and can be run again', async (t) => {
    const shown = page.take('simulate')
    const inReadme = shownCommands('README.md').filter((command) => command.startsWith('simulate'))
    t.same(inReadme, [shown.join(' ')], 'the command in the README is the same')
    const plain = [...shown, '--endpoint', endpoint, ...PATIENTLY, '--json']
    const { code, stdout, stderr } = await latchkey(t, plain, { cwd: parent })
    t.equal(code, 0, stderr)
    const { passed, failed, steps } = JSON.parse(stdout) as Result
    t.match({ passed, failed }, { passed: 18, failed: 0 })
    t.equal(steps.length, 18)
    const picture = read('docs/images/simulate.svg')
    for (const { step } of steps)
      t.ok(picture.includes(`>${step}`), `docs/images/simulate.svg has ${step}: npm run images`)
  })

  await t.test('if nothing answers, it exits with 1 in the first chapter', async (t) => {
    await server.ended('SIGTERM')
    const { code, stdout, stderr } = await latchkey(t, words)
    t.equal(code, 1)
    t.match(stdout, /✗ CreateCustomKeyStore +XksProxyUriUnreachableException/)
    t.match(stderr, 'latchkey: error: 2 of 18 steps failed, 16 were not reached')
    t.match(stderr, 'latchkey: hint: check that the server runs')
  })
})

void t.test('with a configuration, only the named key is killed', async (t) => {
  const w = await workspace(t, { settings: { limits: { requestDeadline: '20s' } } })
  await w.json(...page.take('keys create'))
  const { port } = await w.serve()
  const words = ['--endpoint', `https://localhost:${String(port)}`, '--ca', w.caFile]
  const without = await w.run('simulate', ...words)
  t.equal(without.code, 64)
  t.match(without.stderr, '--key-id is missing: name a key that may be killed temporarily')
  const shown = page.take('simulate --config', { '/etc/latchkey/latchkey.yaml': w.configFile })
  const result = (await w.json(...shown, ...words, ...PATIENTLY)) as {
    readonly scope: unknown
    readonly failed: number
  }
  t.equal(result.failed, 0)
  t.same(result.scope, { kind: 'key', keyStore: 'demo', keyId: 'simulation' })
  const credentials = (await w.json('credentials', 'list')) as { readonly status: string }[]
  t.same(
    credentials.map(({ status }) => status),
    ['REVOKED'],
    'the credential of the story is of no use any more',
  )
  t.same(page.remaining(), [], 'every command in docs/simulate.md has been run')
})
