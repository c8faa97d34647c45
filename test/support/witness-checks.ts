/** Checks another implementation of a witness: it must cosign the checkpoints that extend a log, and no others. */
// SPDX-License-Identifier: Apache-2.0
import type { Test } from 'tap'
import { createWitnessClient, type WitnessOutcome } from '../../src/audit/witness/client.ts'
import { systemClock } from '../../src/core/clock.ts'
import { openCheckpoint, signCheckpoint } from '../../src/core/tlog/checkpoint.ts'
import { hashLeaf, type NodeReader, nodesOf, rootOf } from '../../src/core/tlog/merkle.ts'
import { type NoteSigner, parseVerifierKey } from '../../src/core/tlog/note.ts'
import { parseLogPolicy } from '../../src/core/tlog/policy.ts'

export interface WitnessUnderTest {
  /** Signer for a log that the witness accepts but has not seen yet. */
  readonly log: NoteSigner
  /** The witness's verifier key. */
  readonly vkey: string
  readonly url: string
}

export async function checkWitness(t: Test, { log, vkey, url }: WitnessUnderTest): Promise<void> {
  const key = parseVerifierKey(vkey)
  const logKey = parseVerifierKey(log.verifierKey)
  if (key === undefined || logKey === undefined) throw new TypeError(`no key: ${vkey}`)
  const words = Array.from({ length: 1000 }, (_, i) => `entry ${String(i)}`)
  const toNodes = (entries: readonly string[]) =>
    nodesOf(entries.map((word) => hashLeaf(Buffer.from(word))))
  const truth = toNodes(words)
  const fork = toNodes(words.with(2, 'another entry'))
  const policy = parseLogPolicy(`witness w ${vkey} ${url}\nquorum w\n`)
  if (typeof policy === 'string') throw new TypeError(policy)
  let outcomes: readonly WitnessOutcome[] = []
  const clientOf = (node: NodeReader) => {
    const client = createWitnessClient({
      ...{ policy, timeoutMs: 10_000, clock: systemClock, openNodes: () => node },
      onAsked: (found) => {
        outcomes = found
      },
    })
    return async (size: number) => {
      const head = { size, root: rootOf(node, size) }
      const checkpoint = signCheckpoint(head, log)
      const lines = await client.ask(checkpoint, head)
      return openCheckpoint(checkpoint + lines.join(''), logKey, [key])?.witnesses.length
    }
  }
  const ask = clientOf(truth)
  for (const size of [0, 1, 2, 3, 8, 8, 255, 256, 257, 900]) {
    t.equal(await ask(size), 1, `${String(size)}: ${JSON.stringify(outcomes)}`)
  }
  const again = clientOf(truth)
  t.equal(await again(901), 1, 'a client that has forgotten the size')
  const liar = clientOf(fork)
  t.equal(await liar(1000), 0, 'forked')
  t.match(outcomes, [{ isConflict: true, failure: /status 422/ }])
  t.equal(await liar(901), 0, 'forked at the same size')
  t.match(outcomes, [{ isConflict: true }])
  t.equal(await liar(500), 0, 'rolled back')
  t.match(outcomes, [{ isConflict: true, failure: /the witness has cosigned 901 entries/ }])
  t.equal(await ask(1000), 1, 'the truth still continues')
}
