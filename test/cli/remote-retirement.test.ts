/** Tests the retirement of a key version through an admin listener, by two people without the master key. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { withRetirement } from '../../src/app/retirement.ts'
import { call as callAdmin, pki, startWithAdmin, token } from '../support/admin.ts'
import { latchkeyHere, temporaryFolder, type Ended } from '../support/cli.ts'
import { KEY_ID, eventually } from '../support/server.ts'
import { openPage } from '../support/shown-commands.ts'
import { keyStoreName } from '../support/store.ts'
import { call, decryptBody, encryptBody } from '../support/wire.ts'

t.setTimeout(120_000)

const DAY = 86_400_000
const WHY = ['--reason', 'encrypted again'] as const

async function start(t: Test) {
  const server = await startWithAdmin(t, { activity: { flushInterval: '100ms' } })
  const folder = await temporaryFolder(t)
  const environment = () => ({
    LATCHKEY_ADDR: `https://localhost:${String(server.running.admin?.port)}`,
    LATCHKEY_CACERT: pki.caFile,
    HOME: folder,
  })
  const by =
    (secret: string) =>
    (...words: readonly string[]) =>
      latchkeyHere(words, { ...environment(), LATCHKEY_TOKEN: secret })
  const as = (role: string) => by(token(role))
  const local = (...words: readonly string[]) =>
    latchkeyHere([...words, '--config', server.configFile], { HOME: folder })
  /** Moves the ledger's start into the past, because a test cannot wait for a month without uses. */
  const ageRecord = () =>
    withRetirement(server.config, keyStoreName('demo'), ({ store }) =>
      store.database.transaction(async (transaction) => {
        const begin = Date.now() - 40 * DAY
        await transaction.execute(
          'UPDATE ledger_writers SET started_at = ?, flushed_at = ?, ended_at = ? WHERE ended_at IS NOT NULL',
          [begin, begin, begin],
        )
      }),
    )
  return { server, as, by, local, ageRecord }
}

void t.test('two people retire a version, and a third cancels it', async (t) => {
  const { server, as, local, ageRecord } = await start(t)
  const [custodian, admin] = [as('custodian'), as('admin')]
  const { json } = await call(server, `/keys/${KEY_ID}/encrypt`, encryptBody())
  const decrypt = async () =>
    (await call(server, `/keys/${KEY_ID}/decrypt`, decryptBody(json))).status
  t.equal((await custodian('keys', 'rotate', KEY_ID)).code, 0)
  const quiet = ['--quiet-for', '30d', ...WHY]

  await eventually(async () =>
    (await as('viewer')('keys', 'versions', KEY_ID)).stdout.includes('encrypt'),
  )
  t.match(await custodian('keys', 'retire', KEY_ID, '1', ...quiet), {
    ...{ code: 1, stderr: /the version cannot be retired: nothing was decrypted from/ },
  })
  await ageRecord()
  t.match(await custodian('keys', 'retire', KEY_ID, '2', ...quiet), {
    ...{ code: 1, stderr: /the current version cannot be retired/ },
  })
  t.match(await as('operator')('keys', 'retire', KEY_ID, '1', ...quiet), {
    ...{ code: 1, stderr: /the role operator does not allow this/ },
  })
  t.match(await custodian('keys', 'retire', KEY_ID, '1', ...quiet, '--operator', 'eve'), {
    ...{ code: 64, stderr: /an admin listener records the name in the token/ },
  })
  const asked = await custodian('keys', 'retire', KEY_ID, '1', ...quiet)
  t.match(asked.stdout, /^requested; the version has decrypted nothing for 30 d\n/, asked.stderr)
  t.match(await custodian('keys', 'retire', KEY_ID, '1', ...quiet), {
    ...{ code: 1, stderr: /is already being retired/ },
  })
  t.match(
    (await as('viewer')('keys', 'retirements')).stdout,
    /^test-key version 1: retirement requested by custodian-token .* waiting for approval by a second person\n$/s,
  )

  for (const run of [custodian, local]) {
    t.match(await run('keys', 'destroy-version', KEY_ID, '1', '--yes'), {
      ...{ code: 1, stderr: /version 1 of demo\/test-key is being retired/ },
    })
  }

  const approve = ['keys', 'approve-retirement', KEY_ID, '1'] as const
  t.match(await custodian(...approve, '--yes'), {
    ...{ code: 1, stderr: /counts as the same person/ },
  })
  t.match((await admin(...approve)).stdout, /^would make the version refuse Decrypt/)
  t.equal(await decrypt(), 200, 'a request and a preview refuse nothing')
  await eventually(async () =>
    /"kind": ?"decrypt"/.test((await local('keys', 'versions', KEY_ID, '--json')).stdout),
  )
  await ageRecord()
  const again = await admin(...approve, '--yes')
  t.match(again, { code: 1, stderr: /cannot be retired/ }, 'that Decrypt counts')
  await withRetirement(server.config, keyStoreName('demo'), ({ store }) =>
    store.database.transaction((transaction) =>
      transaction.execute("DELETE FROM version_uses WHERE kind = 'decrypt'"),
    ),
  )
  const approved = await admin(...approve, '--yes', '--json')
  t.match(JSON.parse(approved.stdout), {
    requestedBy: { operator: 'custodian-token', identity: 'token:custodian-token' },
    approval: { operator: 'admin-token', identity: 'token:admin-token' },
  })
  await eventually(async () => (await decrypt()) === 400)
  const seen = JSON.parse((await local('keys', 'versions', KEY_ID, '--json')).stdout) as unknown
  t.match(seen, [{ retirement: { approval: { operator: 'admin-token' } } }, { version: 2 }])

  t.match(await admin('keys', 'shred', KEY_ID, '1', '--yes'), {
    ...{ code: 64, stderr: /keys shred does not work through https:.*LATCHKEY_ADDR/ },
  })
  t.match(await local('keys', 'shred', KEY_ID, '1', '--yes'), { code: 1, stderr: /before 20\d\d-/ })
  t.match(await custodian('keys', 'cancel-retirement', KEY_ID, '1', '--reason', 'a backup'), {
    ...{ code: 0, stdout: `cancelled the retirement of version 1 of ${KEY_ID}\n` },
  })
  await eventually(async () => (await decrypt()) === 200)
  t.match(await custodian('keys', 'cancel-retirement', KEY_ID, '1', '--reason', 'x'), {
    ...{ code: 1, stderr: /is not being retired/ },
  })
  t.match((await as('viewer')('keys', 'retirements')).stdout, 'no key version is being retired')
  const events = JSON.parse((await admin('events', '--json')).stdout) as {
    kind: string
    operator: string
  }[]
  t.strictSame(
    events.filter(({ kind }) => kind.startsWith('retire-')).map((e) => [e.kind, e.operator]),
    [
      ['retire-requested', 'custodian-token'],
      ['retire-approved', 'admin-token'],
      ['retire-cancelled', 'custodian-token'],
    ],
  )
})

void t.test('whoever may create operators cannot make up the second person', async (t) => {
  const { as, by, local, ageRecord } = await start(t)
  const admin = as('admin')
  t.equal((await admin('keys', 'rotate', KEY_ID)).code, 0)
  await ageRecord()
  const createToken = async (run: typeof local) => {
    const { stdout, stderr } = await run('admin', 'tokens', 'create', 'bob', '--json')
    t.equal(stderr, '')
    return (JSON.parse(stdout) as { token: string }).token
  }
  t.equal((await admin('operators', 'add', 'bob', '--role', 'admin', '--yes')).code, 0)
  const copied = by(await createToken(admin))
  const renewed = by(await createToken(copied))
  const retire = ['keys', 'retire', KEY_ID, '1', '--quiet-for', '30d', ...WHY] as const
  const approve = ['keys', 'approve-retirement', KEY_ID, '1', '--yes'] as const
  const refused = { code: 1, stderr: /because another caller created it through a listener/ }
  t.match(await copied(...retire), refused, 'and the admin could approve')
  const asked = await admin(...retire)
  t.equal(asked.code, 0, asked.stderr)
  t.match(await copied(...approve), refused)
  t.match(await renewed(...approve), refused, 'a renewal proves no more')

  const own = by(await createToken(local))
  const tokens = (await admin('admin', 'tokens', 'list')).stdout
  t.match(tokens, /bob +ACTIVE +\S+ +admin-token \(listener\) /)
  const again = by(await createToken(own))
  t.match(await again(...approve, '--json'), { code: 0, stdout: /"identity": ?"token:bob"/ })
  const cancelled = await copied('keys', 'cancel-retirement', KEY_ID, '1', '--reason', 'wrong')
  t.equal(cancelled.code, 0, 'anyone may cancel')
})

void t.test('requests that lack something are refused before anything changes', async (t) => {
  const { server } = await start(t)
  const path = `/admin/v1/retirements/demo/${KEY_ID}`
  const post = (body: object, role = 'custodian', to = path) =>
    callAdmin(server, 'POST', to, { token: token(role), body })
  const invalid = { status: 400, body: { error: { code: 'INPUT_INVALID' } } }
  const request = { action: 'request', version: 1, reason: 'r' }
  t.match(await post({ action: 'request', version: 1 }), invalid)
  t.match(await post(request), invalid, 'no periods')
  t.match(await post({ ...request, quietForMs: DAY, waitForMs: DAY }), invalid, 'too short')
  t.match(await post({ action: 'cancel', version: 1 }), invalid)
  t.match(await post({ action: 'shred', version: 1 }), invalid)
  const approval = { action: 'approve', version: 1 }
  t.match(await post(approval, 'custodian', '/admin/v1/retirements/none/key'), invalid)
  t.match(await post(approval), { status: 404, body: { error: { reason: 'NO_RETIREMENT' } } })
  t.match(await post(approval, 'viewer'), { status: 403 })
})

void t.test('docs/retirement.md: the four steps, with months between them', async (t) => {
  const page = openPage('docs/retirement.md')
  const id = { 'payroll-2026': KEY_ID }
  const { server, as, local } = await start(t)
  const now = Date.now.bind(Date)
  t.teardown(() => {
    Date.now = now
  })
  /** Sets the wall clock of this process, and so of the server and the commands, this many days ahead. */
  const passDays = (days: number) => {
    Date.now = () => now() + days * DAY
  }
  const expectSuccess = ({ code, stdout, stderr }: Ended) => {
    t.equal(code, 0, stderr)
    return stdout
  }
  expectSuccess(await as('custodian')('keys', 'rotate', KEY_ID))
  await server.stop()
  passDays(91)
  t.match(expectSuccess(await local(...page.take('keys versions', id))), /PREVIOUS/)
  await server.start()
  const asked = await as('custodian')(...page.take('keys retire', id))
  t.match(expectSuccess(asked), /has decrypted nothing for 90 d/)
  const approved = await as('admin')(...page.take('keys approve-retirement', id))
  t.match(expectSuccess(approved), /approved by admin-token/)
  await server.stop()
  passDays(91 + 15)
  const shredded = expectSuccess(await local(...page.take('keys shred', id)))
  t.match(JSON.parse(shredded), {
    statement: { keyId: KEY_ID, version: 1, keyManager: 'software' },
  })
  t.same(page.remaining(), [], 'every command in docs/retirement.md has been run')
})
