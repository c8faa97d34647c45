/** Tests `latchkey policy …`, from the first suggestion to enforcing policies and removing them. */
// SPDX-License-Identifier: Apache-2.0
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { SCHEMA } from '../../src/policy/schema.ts'
import { type Workspace, workspace } from '../support/cli.ts'
import { recordUsage } from '../support/recorded-usage.ts'
import { read } from '../support/repository.ts'

t.setTimeout(180_000)

const WHY = ['--reason', 'a test', '--yes'] as const
const ALICE = 'arn:aws:iam::111122223333:user/alice'
const only = (arn: string) =>
  `@id("only") permit(principal == XKS::Principal::"${arn}", action, resource);\n`

/** Writes a file into the workspace. */
async function file(space: Workspace, name: string, text: string): Promise<string> {
  const path = join(space.folder, name)
  await writeFile(path, text)
  return path
}

void t.test(
  'put shows which callers it would refuse, and changes nothing without --yes',
  async (t) => {
    const space = await workspace(t)
    await recordUsage(space, ALICE)
    const path = await file(space, 'main.cedar', only('arn:aws:iam::111122223333:user/bob'))
    const shown = await space.run('policy', 'put', path, '--reason', 'a test')
    t.equal(shown.code, 0)
    t.match(
      shown.stdout,
      /^would put main\nof 4 requests in the last seven days, the change would refuse 4 that succeeded.*\nAdd --yes to do it\.\n$/,
    )
    t.match((await space.run('policy', 'list')).stdout, /^no policies/)

    const done = await space.run('policy', 'put', path, ...WHY)
    t.match(done, {
      code: 0,
      stdout: /^in force after \d+ ms on 0 of 0 instances: revision 1, epoch \d+: put main\n$/,
    })
    t.match(
      (await space.run('policy', 'list')).stdout,
      /^revision 1\nNAME +STATE +IN SHADOW +POLICIES\nmain +in force +- +only\n$/,
    )
    t.match(await space.run('policy', 'put', path, ...WHY), {
      code: 1,
      stderr: /the policies already have this content/,
    })
    t.match(await space.run('policy', 'put', path, '--yes'), {
      code: 64,
      stderr: /--reason is missing/,
    })

    await file(space, 'main.cedar', only(ALICE))
    t.match(await space.json('policy', 'put', path, '--shadow', ...WHY), {
      revision: 2,
      state: 'in force',
      changes: [{ name: 'main', mode: 'shadow' }],
    })
    t.match(
      (await space.run('policy', 'simulate')).stdout,
      /of 4 requests, 4 that succeeded would be refused\n\nPRINCIPAL.*\narn:aws:iam::111122223333:user\/alice +- +demo\/key-1 +Decrypt +4 .*POLICY_DEFAULT/,
    )
    t.match(await space.json('policy', 'simulate', '--shadow'), { requests: 4, wouldBeRefused: 0 })
    t.match(await space.run('policy', 'promote', ...WHY), { code: 0 })
    t.equal((await space.run('policy', 'get', 'main')).stdout, only(ALICE))
    t.match((await space.run('policy', 'get', 'main', '--revision', '1')).stdout, /user\/bob/)
    t.match(await space.run('policy', 'rollback', '1', ...WHY, '--no-wait'), {
      code: 0,
      stdout: /^written: revision 4, .* roll back to revision 1: put main\n$/,
    })
    t.match(await space.run('policy', 'rollback', '17', ...WHY), {
      code: 65,
      stderr: /there is no revision 17/,
    })
    t.match(
      (await space.run('policy', 'history')).stdout,
      /^REVISION .*\n4 .* rollback .*\n3 .* promote .*\n2 .* put .*main \(shadow\).*\n1 /,
    )
    t.match(await space.run('policy', 'delete', 'main', ...WHY), { code: 0 })
    t.match(await space.run('policy', 'get', 'main'), {
      code: 65,
      stderr: /there is no document main/,
    })
  },
)

void t.test(
  'invalid policies are rejected as a whole, and each error has a location',
  async (t) => {
    const space = await workspace(t)
    const folder = join(space.folder, 'policies')
    await mkdir(folder)
    await file(space, 'policies/good.cedar', only(ALICE))
    await file(
      space,
      'policies/bad.cedar',
      '\npermit(principal, action, resource) when { context.kmsOpration == "x" };',
    )
    const { code, stderr } = await space.run('policy', 'put', folder, ...WHY)
    t.equal(code, 65)
    t.match(
      stderr,
      /^latchkey: error: bad\.cedar:2:\d+: attribute `kmsOpration` in context not found; did you mean `kmsOperation`\?\n$/,
    )
    t.match((await space.run('policy', 'list')).stdout, /^no policies/)
    t.match(await space.run('policy', 'check', folder), { code: 65 })
    await file(
      space,
      'policies/bad.cedar',
      'forbid(principal, action == XKS::Action::"Decrypt", resource is XKS::KeyStore);',
    )
    t.match(await space.run('policy', 'check', folder), {
      code: 0,
      stdout: '2 policies in 2 documents are valid\n',
      stderr: /warning: bad\.cedar:1:1: .*impossible/,
    })
  },
)

void t.test('suggest, then put the suggestion', async (t) => {
  const space = await workspace(t)
  t.match(await space.run('policy', 'suggest'), {
    code: 65,
    stderr: /no successful requests are recorded/,
  })
  await recordUsage(space, ALICE)
  const { code, stdout } = await space.run('policy', 'suggest', '--since', '1d')
  t.equal(code, 0)
  t.match(stdout, /principal == XKS::Principal::"arn:aws:iam::111122223333:user\/alice"/)
  const path = await file(space, 'first.cedar', stdout)
  t.match(await space.json('policy', 'simulate', '--policies', path), {
    requests: 4,
    wouldBeRefused: 0,
  })
  t.match(await space.run('policy', 'put', path, ...WHY), { code: 0 })
})

void t.test('test, explain, import and schema need no store', async (t) => {
  const space = await workspace(t, { withoutStore: true })
  const policies = await file(
    space,
    'business-hours.cedar',
    read('docs/policies/business-hours.cedar'),
  )
  const cases = await file(space, 'cases.yaml', read('docs/policies/business-hours.cases.yaml'))
  const passed = await space.run('policy', 'test', cases, '--policies', policies)
  t.match(passed, { code: 0, stdout: /^ok {4} at noon: allow by our-account\n/ })
  const wrong = await file(
    space,
    'wrong.yaml',
    'cases: [{ name: night, request: { keyStore: a, key: b }, expect: allow }]',
  )
  t.match(await space.run('policy', 'test', wrong, '--policies', policies), {
    ...{ code: 1, stdout: 'FAILED night: expected allow: deny: no policy permits it\n' },
    stderr: /1 of 1 test cases failed/,
  })
  const request = await file(
    space,
    'request.yaml',
    `{ keyStore: payroll, key: key-1, at: '2027-03-01T03:00:00Z', awsPrincipalArn: '${ALICE}', kmsKeyArn: 'arn:aws:kms:eu-west-1:111122223333:key/1' }`,
  )
  const explained = await space.run('policy', 'explain', request, '--policies', policies)
  t.match(
    explained.stdout,
    /^deny \(POLICY_FORBID\) by people-at-night\n[\s\S]*decided:\n {2}forbid people-at-night \(business-hours\.cedar:\d+\) applies\n/,
  )
  const line = {
    msg: 'request',
    kmsRequestId: 'id-1',
    keyStore: 'payroll',
    keyId: 'key-1',
    operation: 'Decrypt',
    time: '2027-03-01T12:00:00.000Z',
  }
  const log = await file(
    space,
    'latchkey.log',
    `noise\n${JSON.stringify({ ...line, awsPrincipalArn: 'arn:aws:iam::999999999999:user/eve', kmsOperation: 'Decrypt' })}\n`,
  )
  const fromLog = await space.run('policy', 'explain', 'id-1', '--log', log, '--policies', policies)
  t.match(
    fromLog.stdout,
    /^deny: no policy permits it\n[\s\S]*almost applied:\n {2}permit our-account .*\n {4}not: principal in XKS::Account::"111122223333"\n/,
  )
  t.match(await space.run('policy', 'explain', 'id-2', '--log', log, '--policies', policies), {
    code: 65,
  })
  const polar = await file(
    space,
    'oso.polar',
    'allow(p: String, "decrypt", m: M) if m.kmsOperation = "Decrypt";\n',
  )
  t.match(await space.run('policy', 'import', '--oso', polar), {
    ...{ code: 0, stdout: /context\.kmsOperation == "Decrypt"/ },
    stderr: /oso\.polar:1: kmsOperation ReEncrypt is not listed/,
  })
  t.equal((await space.run('policy', 'schema')).stdout, SCHEMA)
})

void t.test('with policy.folder, the commands read the files and change nothing', async (t) => {
  const space = await workspace(t, { settings: { policy: { folder: 'policies' } } })
  await mkdir(join(space.folder, 'policies'))
  const path = await file(space, 'policies/main.cedar', only(ALICE))
  t.match((await space.run('policy', 'list')).stdout, /main +in force/)
  t.equal((await space.run('policy', 'get', 'main')).stdout, only(ALICE))
  t.match(await space.run('policy', 'put', path, ...WHY), {
    code: 1,
    stderr: /policies come from the files in .*policies/,
  })
  t.match(await space.run('policy', 'history'), { code: 1 })
  await file(
    space,
    'policies/bad.shadow.cedar',
    'permit(principal, action, resource) when { nonsense };',
  )
  t.match(await space.run('config', 'check'), {
    ...{ code: 78, stderr: /policy\.folder: bad\.cedar:1:\d+: / },
  })
})
