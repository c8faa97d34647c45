/** Tests a real server's control log: its contents, its cosignatures, and the detection of a rewritten history. */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cp, readdir } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openWitnessKey } from '../../src/audit/witness/key.ts'
import { createWitnessServer } from '../../src/audit/witness/server.ts'
import { createWitness } from '../../src/audit/witness/witness.ts'
import { systemClock } from '../../src/core/clock.ts'
import { checkEvidence } from '../../src/core/tlog/evidence.ts'
import { parseVerifierKey } from '../../src/core/tlog/note.ts'
import { openControlLogKey } from '../../src/killswitch/receipt/control-log.ts'
import { openStore } from '../../src/store/store.ts'
import { toStoreOptions } from '../../src/app/store.ts'
import { logsOf, publicKeyOf, readPlainly } from '../support/audit.ts'
import { latchkeyHere, temporaryFolder } from '../support/cli.ts'
import { keyStoreName } from '../support/store.ts'
import { KILLED, eventually, KEY_ID, startTestServer, type TestServer } from '../support/server.ts'
import { call, encryptBody } from '../support/wire.ts'

/** Copies a folder without the files that a running server is about to rename. */
const WITHOUT_UNFINISHED = {
  recursive: true,
  filter: (path: string) => !path.endsWith('.new'),
}

const folderOf = ({ config }: TestServer) => join(config.audit.folder, 'control')
const eventsOf = (server: TestServer) => readPlainly(folderOf(server)).map(({ event }) => event)

/**
 * Reports whether the log contains an event of this kind. The server may be writing the files, so a failed read returns
 * false.
 */
function hasEvent(server: TestServer, kind: string): boolean {
  try {
    return eventsOf(server).includes(kind)
  } catch {
    return false
  }
}

function runner(server: TestServer) {
  return (...words: readonly string[]) =>
    latchkeyHere(words, { LATCHKEY_CONFIG: server.configFile })
}

/** Starts a witness that accepts the store's control log. */
async function startWitness(t: Test, server: TestServer) {
  const store = await openStore(await toStoreOptions(server.config))
  const { verifierKey } = (await openControlLogKey(store)).signer
  await store.close()
  const key = parseVerifierKey(verifierKey)
  if (key === undefined) throw new TypeError('no key')
  const folder = await temporaryFolder(t)
  const signer = await openWitnessKey(folder, 'witness.example', () => systemClock.now())
  const witness = createWitness({
    ...{ folder, signer, logs: [key] },
    onEvent: () => undefined,
  })
  const http = createWitnessServer({ witness, onError: (error) => t.fail(String(error)) })
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    http.close().closeAllConnections()
  })
  const url = `http://127.0.0.1:${String((http.address() as AddressInfo).port)}`
  return { policy: `witness W ${signer.verifierKey} ${url}\nquorum W\n` }
}

void t.test(
  'verifies a log with its witness and receipts, and detects an older copy',
  async (t) => {
    const policyFile = join(await temporaryFolder(t), 'witnesses.policy')
    writeFileSync(policyFile, 'quorum none\n')
    const server = await startTestServer(t, {
      stopped: true,
      config: {
        control: KILLED,
        audit: {
          ...{ mode: 'buffered', headInterval: '1s', checkpointInterval: '100ms' },
          witnesses: { policy: policyFile, interval: '1s' },
        },
      },
    })
    const { policy } = await startWitness(t, server)
    writeFileSync(policyFile, policy)
    const run = runner(server)
    const publicKey = await publicKeyOf(server.config)
    await server.start()
    await call(server, `/keys/${KEY_ID}/encrypt`, encryptBody())
    await eventually(() => hasEvent(server, 'audit-opened'))
    const older = await temporaryFolder(t)
    await cp(folderOf(server), older, WITHOUT_UNFINISHED)
    await eventually(() => hasEvent(server, 'audit-head'))
    await run('keys', 'create', 'another', '--json')
    const { quorum, witness } = {
      quorum: /^latchkey_audit_witness_quorum 1$/m,
      witness: /^latchkey_audit_witness_state\{witness="witness\.example",state="cosigns"\} 1$/m,
    }
    await eventually(async () => quorum.test(await server.running.metrics()))
    t.match(await server.running.metrics(), witness)
    const { accessKeyId } = await server.administration.credentials.create(keyStoreName('demo'))
    await run('credentials', 'revoke', accessKeyId, '--yes')
    const killed = await run('kill', '--all', '--reason', 'x', '--json')
    const { receipt } = JSON.parse(killed.stdout) as {
      receipt: { statement: object; proof: string }
    }
    const checked = checkEvidence(receipt.proof, publicKey)
    t.match(checked, { certificate: { kind: 'control log' } })
    await server.stop()

    const events = eventsOf(server)
    const kinds = ['audit-opened', 'audit-head', 'kill', 'revoked', 'audit-closed', 'key-created']
    for (const kind of [...kinds, 'credential-created', 'credential-revoked']) {
      t.ok(events.includes(kind), kind)
    }
    const index = events.indexOf('revoked')
    const entry = readPlainly(folderOf(server))[index]
    t.match(
      typeof checked === 'string' ? checked : JSON.parse(checked.entry.toString()),
      entry ?? {},
    )
    t.match(entry, { detail: { statement: receipt.statement } })

    await t.test('receipts are verified with their log position', async (t) => {
      const file = join(server.folder, 'receipt.json')
      writeFileSync(file, JSON.stringify(receipt))
      const words = ['receipt', 'verify', file, '--public-key', publicKey]
      const place = new RegExp(`in the control log: entry ${String(index)} of \\d+ in latchkey/`)
      t.match(await latchkeyHere(words), { code: 0, stdout: place })
      const other = receipt.proof.replace(/^index \d+$/m, 'index 0')
      writeFileSync(file, JSON.stringify({ ...receipt, proof: other }))
      t.match(await latchkeyHere(words), { code: 65, stderr: /does not connect the entry/ })
      const proofFile = join(server.folder, 'receipt.tlog-proof')
      writeFileSync(proofFile, receipt.proof)
      const check = ['audit', 'check-proof', proofFile, '--public-key', publicKey]
      t.match(await latchkeyHere(check), { code: 0, stdout: /"event": "revoked"/ })
    })

    await t.test(
      'verified together with the process logs, with and without the store',
      async (t) => {
        const verify = ['audit', 'verify', '--policy', policyFile]
        t.match(await run(...verify), { code: 0, stdout: /\ncontrol .* valid\n.* closed +valid/ })
        const copy = await temporaryFolder(t)
        await cp(server.config.audit.folder, copy, WITHOUT_UNFINISHED)
        const elsewhere = () =>
          latchkeyHere([...verify, '--folder', copy, '--public-key', publicKey])
        t.match(await elsewhere(), { code: 0, stderr: '' })
        const [log = ''] = await logsOf(server.config)
        rmSync(join(copy, log.split('/').at(-1) ?? ''), { recursive: true })
        t.match(await elsewhere(), {
          code: 0,
          stderr: /1 logs from host .* are not in this folder/,
        })
        writeFileSync(policyFile, policy.replace(/witness W \S+/, `witness W ${await otherKey(t)}`))
        t.match(await elsewhere(), { code: 65, stdout: /witness: cosigned by no witness/ })
        writeFileSync(policyFile, policy)
        rmSync(join(copy, 'control'), { recursive: true })
        const [, ...rest] = await logsOf(server.config)
        t.same(rest, [])
        await cp(log, join(copy, 'log'), { recursive: true })
        t.match(await elsewhere(), { code: 65, stdout: /witness: the control log is not in this/ })
        const single = ['--folder', join(copy, 'log'), '--public-key', publicKey]
        t.match(await latchkeyHere(['audit', 'verify', ...single]), { code: 0 })
        t.match(await latchkeyHere([...verify, ...single]), { code: 65, stdout: /^witness: /m })
      },
    )

    await t.test('proves an event by its number', async (t) => {
      const { code, stdout } = await run('audit', 'prove-event', String(index + 1))
      t.equal(code, 0)
      const file = join(server.folder, 'event.tlog-proof')
      writeFileSync(file, stdout)
      const check = ['audit', 'check-proof', file, '--public-key', publicKey]
      t.match(await latchkeyHere(check), { code: 0, stdout: /"event": "revoked"/ })
      writeFileSync(file, stdout.replace(/^index \d+$/m, 'index 0'))
      t.match(await latchkeyHere(check), { code: 65 })
      const none = await run('audit', 'prove-event', '9999')
      t.match(none, { code: 1, stderr: /the control log has \d+ events/ })
      t.match(await run('audit', 'prove-event', '0'), { code: 64 })
      const alone = await run(
        'audit',
        'prove-event',
        String(index + 1),
        '--folder',
        folderOf(server),
      )
      t.match(alone, { code: 0 })
      const [log = ''] = await logsOf(server.config)
      t.match(await run('audit', 'prove-event', '1', '--folder', log), {
        code: 1,
        stderr: /the control log was not found/,
      })
    })

    await t.test('an older control log and a forked one are detected', async (t) => {
      const copy = await temporaryFolder(t)
      await cp(older, join(copy, 'control'), { recursive: true })
      const behind = await run('audit', 'verify', '--folder', copy)
      t.match(behind, { code: 0 }, 'a copy of the past is a part of the present')
      // Replacing the control log with an unrelated one makes it fork, as restoring an old backup does.
      const before = readFileSync(join(folderOf(server), 'checkpoint'), 'utf8')
      const foreign = await startTestServer(t, { config: { audit: { mode: 'buffered' } } })
      await foreign.stop()
      rmSync(folderOf(server), { recursive: true })
      await cp(folderOf(foreign), folderOf(server), { recursive: true })
      await server.start()
      await eventually(() => hasEvent(server, 'revoked'))
      await server.stop()
      t.ok(eventsOf(server).length > Number(before.split('\n')[1]))
      const names = await readdir(server.config.audit.folder)
      t.equal(names.filter((name) => /^control-\d+-[0-9a-f]{8}$/.test(name)).length, 1)
      t.match(await run('audit', 'verify'), { code: 65, stdout: /\ncontrol-.* INVALID/ })
    })
  },
)

async function otherKey(t: Test): Promise<string> {
  const signer = await openWitnessKey(await temporaryFolder(t), 'other.example', () => 0)
  return signer.verifierKey
}
