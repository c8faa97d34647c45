/** Tests the c2sp.org/tlog-witness server and client over HTTP: what a witness cosigns and what it refuses. */
// SPDX-License-Identifier: Apache-2.0
import { hash, randomBytes } from 'node:crypto'
import { readdirSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createWitnessClient, type WitnessOutcome } from '../../src/audit/witness/client.ts'
import { openWitnessKey } from '../../src/audit/witness/key.ts'
import { createWitnessServer } from '../../src/audit/witness/server.ts'
import { encodeSubmission } from '../../src/audit/witness/submission.ts'
import { createWitness } from '../../src/audit/witness/witness.ts'
import { systemClock } from '../../src/core/clock.ts'
import { openCheckpoint, signCheckpoint } from '../../src/core/tlog/checkpoint.ts'
import { hashLeaf, nodesOf, proveConsistency, rootOf } from '../../src/core/tlog/merkle.ts'
import { createNoteSigner, type NoteKey, parseVerifierKey } from '../../src/core/tlog/note.ts'
import { parseLogPolicy } from '../../src/core/tlog/policy.ts'
import { temporaryFolder } from '../support/cli.ts'

const log = createNoteSigner('example.com/log', randomBytes(32))

function keyOf(text: string): NoteKey {
  const key = parseVerifierKey(text)
  if (key === undefined) throw new TypeError(`no key: ${text}`)
  return key
}

/** Creates a history of entries that provides checkpoints and proofs. */
function history(...words: readonly string[]) {
  const node = nodesOf(words.map((word) => hashLeaf(Buffer.from(word))))
  const head = (size: number) => ({ size, root: rootOf(node, size) })
  const checkpoint = (size: number) => signCheckpoint(head(size), log)
  return {
    ...{ node, head, checkpoint },
    submission: (oldSize: number, size: number) =>
      encodeSubmission({
        ...{ oldSize, checkpoint: checkpoint(size) },
        hashes: proveConsistency(node, oldSize, size),
      }),
  }
}

const words = Array.from({ length: 20 }, (_, i) => `entry ${String(i)}`)
const truth = history(...words)
const fork = history(...words.with(2, 'another entry'))

async function startWitness(t: Test, folder: string) {
  const signer = await openWitnessKey(folder, 'witness.example', () => systemClock.now())
  const witness = createWitness({
    ...{ folder, signer, logs: [keyOf(log.verifierKey)] },
    onEvent: () => undefined,
  })
  const server = createWitnessServer({ witness, onError: (error) => t.fail(String(error)) })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const stop = () =>
    new Promise<void>((resolve) => {
      server.close(() => {
        resolve()
      })
      server.closeAllConnections()
    })
  t.teardown(stop)
  const url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`
  return {
    ...{ url, stop, vkey: signer.verifierKey, key: keyOf(signer.verifierKey) },
    async add(body: string) {
      const answer = await fetch(`${url}/add-checkpoint`, { method: 'POST', body })
      return {
        ...{ status: answer.status, type: answer.headers.get('content-type') },
        text: await answer.text(),
      }
    },
    get: (path: string) => fetch(`${url}${path}`),
  }
}

void t.test('a witness cosigns only consistent checkpoints', async (t) => {
  const folder = await temporaryFolder(t)
  const witness = await startWitness(t, folder)
  const { add } = witness
  const cosigned = async (body: string, checkpoint: string) => {
    const { status, text } = await add(body)
    t.equal(status, 200, text)
    const opened = openCheckpoint(checkpoint + text, keyOf(log.verifierKey), [witness.key])
    t.equal(opened?.witnesses.length, 1)
  }
  const path = `/${hash('sha256', log.name, 'hex')}/checkpoint`
  t.equal((await witness.get(path)).status, 404, 'nothing is cosigned yet')
  await cosigned(truth.submission(0, 3), truth.checkpoint(3))
  await cosigned(truth.submission(3, 8), truth.checkpoint(8))
  await cosigned(truth.submission(8, 8), truth.checkpoint(8))
  const served = await (await witness.get(path)).text()
  t.match(openCheckpoint(served, keyOf(log.verifierKey), [witness.key]), {
    size: 8,
    witnesses: [{ name: 'witness.example' }],
  })

  const stale = await add(truth.submission(3, 12))
  t.match(stale, { status: 409, type: 'text/x.tlog.size', text: '8\n' })
  t.match(await add(truth.submission(3, 5)), { status: 409, text: '8\n' }, 'rolled back')
  t.match(await add(fork.submission(8, 12)), { status: 422 }, 'forked')
  t.match(await add(fork.submission(8, 8)), { status: 422 }, 'forked at the same size')
  const { node } = truth
  const mixed = (oldSize: number, size: number, hashes = proveConsistency(node, oldSize, size)) =>
    encodeSubmission({ oldSize, hashes, checkpoint: truth.checkpoint(size) })
  t.match(await add(mixed(8, 12, [])), { status: 422 }, 'no proof')
  t.match(await add(mixed(8, 12, [randomBytes(32)])), { status: 422 }, 'invented proof')
  t.match(await add(mixed(8, 8, [randomBytes(32)])), { status: 422 }, 'proof of nothing')
  t.match(
    await add(mixed(12, 8, [])),
    { status: 400 },
    'the old size is larger than the size of the checkpoint',
  )
  const forged = createNoteSigner(log.name, randomBytes(32))
  const byOther = signCheckpoint(truth.head(12), forged)
  const hashes = proveConsistency(node, 8, 12)
  t.match(await add(encodeSubmission({ oldSize: 8, hashes, checkpoint: byOther })), { status: 403 })
  const broken = truth.checkpoint(12).replace(/\n12\n/, '\n13\n')
  t.match(await add(encodeSubmission({ oldSize: 8, hashes, checkpoint: broken })), { status: 403 })
  const unknown = signCheckpoint(truth.head(3), createNoteSigner('example.com/x', randomBytes(32)))
  t.match(await add(encodeSubmission({ oldSize: 0, hashes: [], checkpoint: unknown })), {
    status: 404,
  })
  for (const body of ['', 'old 8', 'old 08\n\nx', truth.submission(8, 12).replace('old', 'new')]) {
    t.ok([400, 404].includes((await add(body)).status), JSON.stringify(body))
  }
  t.equal((await witness.get('/add-checkpoint')).status, 405)
  t.equal((await witness.get(`/${'0'.repeat(64)}/checkpoint`)).status, 404)
  t.equal((await witness.get('/../witness-key.json')).status, 404)

  await witness.stop()
  const again = await startWitness(t, folder)
  t.equal(again.vkey, witness.vkey)
  t.match(await again.add(fork.submission(0, 12)), { status: 409, text: '8\n' }, 'it remembers')
  t.match(await again.add(fork.submission(8, 12)), { status: 422 })
  t.match(await again.add(truth.submission(8, 12)), { status: 200 })
  const [name = ''] = readdirSync(folder).filter((one) => /^[0-9a-f]{64}$/.test(one))
  writeFileSync(join(folder, name, 'checkpoint'), '')
  t.match(await again.add(truth.submission(0, 20)), { status: 500 }, 'damage is not a new log')
})

void t.test('concurrent submissions: one size wins, and the size never decreases', async (t) => {
  const { add, get } = await startWitness(t, await temporaryFolder(t))
  const sizes = [3, 20, 5, 11, 1]
  const answers = await Promise.all(sizes.map((size) => add(truth.submission(0, size))))
  t.equal(answers.filter(({ status }) => status === 200).length, 1)
  const won = sizes[answers.findIndex(({ status }) => status === 200)]
  const served = await get(`/${hash('sha256', log.name, 'hex')}/checkpoint`)
  t.match(openCheckpoint(await served.text(), keyOf(log.verifierKey)), { size: won })
})

void t.test("a client learns the witness's state and reports refusals", async (t) => {
  const first = await startWitness(t, await temporaryFolder(t))
  const second = await startWitness(t, await temporaryFolder(t))
  await first.add(truth.submission(0, 3))
  let reported: readonly WitnessOutcome[] = []
  let isQuorum = false
  const clientOf = (from: typeof truth, ...lines: readonly string[]) => {
    const policy = parseLogPolicy(lines.join('\n'))
    if (typeof policy === 'string') throw new Error(policy)
    return createWitnessClient({
      ...{ policy, timeoutMs: 10_000, clock: systemClock, openNodes: () => from.node },
      onAsked: (outcomes, quorum) => {
        reported = outcomes
        isQuorum = quorum
      },
    })
  }
  const both = [
    `witness one ${first.vkey} ${first.url}`,
    `witness two ${second.vkey} ${second.url}/`,
    'group both all one two',
    'quorum both',
  ]
  const client = clientOf(truth, ...both)
  for (const size of [8, 8, 17]) {
    const checkpoint = truth.checkpoint(size)
    const lines = await client.ask(checkpoint, truth.head(size))
    const keys = [first.key, second.key]
    const opened = openCheckpoint(checkpoint + lines.join(''), keyOf(log.verifierKey), keys)
    t.equal(opened?.witnesses.length, 2, String(size))
    t.ok(isQuorum)
    t.notOk(client.isDue())
  }
  const liar = clientOf(fork, ...both)
  t.same(await liar.ask(fork.checkpoint(20), fork.head(20)), [])
  t.match(reported, [
    { isConflict: true, failure: /status 422/ },
    { isConflict: true, failure: /status 422/ },
  ])
  t.same(await liar.ask(fork.checkpoint(5), fork.head(5)), [], 'rolled back')
  t.match(reported, [{ isConflict: true, failure: /the witness has cosigned 17 entries/ }, {}])
  t.notOk(isQuorum)
  t.ok(liar.isDue())
  await second.stop()
  const lines = await client.ask(truth.checkpoint(20), truth.head(20))
  t.equal(lines.length, 1)
  t.match(reported, [{}, { failure: /./ }])
})

void t.test('a size reported by a witness is trusted for one round only', async (t) => {
  const witness = await startWitness(t, await temporaryFolder(t))
  const lies = ['1000000\n', '1000000\n', '5\n', 'many\n']
  let asked = 0
  // This proxy responds to the first requests with false sizes, and then forwards all other requests to the witness.
  const front = http.createServer((request, response) => {
    asked += 1
    const lie = lies.shift()
    if (lie !== undefined) {
      request.resume()
      response.writeHead(409, { 'content-type': 'text/x.tlog.size' }).end(lie)
      return
    }
    const { method, url } = request
    const inner = http.request(`${witness.url}${url ?? ''}`, { method }, (answer) => {
      response.writeHead(answer.statusCode ?? 500)
      answer.pipe(response)
    })
    request.pipe(inner)
  })
  await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    front.close()
    front.closeAllConnections()
  })
  const url = `http://127.0.0.1:${String((front.address() as AddressInfo).port)}`
  const policy = parseLogPolicy(`witness one ${witness.vkey} ${url}\nquorum one\n`)
  if (typeof policy === 'string') throw new Error(policy)
  let reported: readonly WitnessOutcome[] = []
  const client = createWitnessClient({
    ...{ policy, timeoutMs: 10_000, clock: systemClock, openNodes: () => truth.node },
    onAsked(outcomes) {
      reported = outcomes
    },
  })
  const ask = () => client.ask(truth.checkpoint(8), truth.head(8))
  for (const round of [1, 2]) {
    t.same(await ask(), [])
    t.match(reported, [{ isConflict: true, failure: /the witness has cosigned 1000000 entries/ }])
    t.equal(asked, round, 'each round asks once, and reports what it is told')
    t.ok(client.isDue())
  }
  t.same(await ask(), [], 'a size that fits is tried in the same round')
  t.match(reported, [{ isConflict: false, failure: /did not return the size/ }])
  t.equal((await ask()).length, 1, 'the log has not grown, and is cosigned')
  t.equal(asked, 5)
})
