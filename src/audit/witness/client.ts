/** Asks witnesses to cosign a log's checkpoints (c2sp.org/tlog-witness). */
// SPDX-License-Identifier: Apache-2.0
import http from 'node:http'
import https from 'node:https'
import type { Clock } from '../../core/clock.ts'
import { exchange, type HttpAnswer } from '../../core/http-exchange.ts'
import { parseDecimal } from '../../core/tlog/checkpoint.ts'
import { type NodeReader, proveConsistency, type TreeHead } from '../../core/tlog/merkle.ts'
import { type NoteKey, parseNote, verifyNote } from '../../core/tlog/note.ts'
import type { LogPolicy } from '../../core/tlog/policy.ts'
import type { Cosign } from '../writer/log-files.ts'
import { encodeSubmission } from './submission.ts'

/** A response contains only a few signature lines. */
const MAX_ANSWER_BYTES = 64 * 1024
/**
 * A log that is not growing is cosigned again after this many milliseconds, so that readers can see
 * that it is current.
 */
const FRESH_MS = 3_600_000

export interface WitnessOutcome {
  readonly witness: string
  /** Why the cosignature is missing; absent if the witness cosigned. */
  readonly failure?: string
  /** Whether the witness has seen a different or longer history. */
  readonly isConflict?: boolean
}

export interface WitnessClientOptions {
  readonly policy: LogPolicy
  /** Timeout per witness, in milliseconds. All witnesses are asked in parallel. */
  readonly timeoutMs: number
  readonly clock: Clock
  /** Reads nodes of the log, whose tiles are written before any witness is asked. */
  readonly openNodes: (size: number) => NodeReader
  /** Called after each round. Must not throw. */
  readonly onAsked: (outcomes: readonly WitnessOutcome[], isQuorum: boolean) => void
}

interface Witness {
  readonly key: NoteKey
  readonly url: string
  /** Checkpoint size that the witness last cosigned for this process. */
  size: number
}

export function createWitnessClient(options: WitnessClientOptions): Cosign {
  const { policy, clock, onAsked } = options
  const witnesses: Witness[] = policy.witnesses.flatMap(({ key, url }) =>
    url === undefined ? [] : [{ key, url, size: 0 }],
  )
  let askedAt = -Infinity
  let isComplete = true
  return {
    isDue: () => !isComplete || clock.monotonic() - askedAt >= FRESH_MS,
    async ask(checkpoint, head) {
      const answers = await Promise.all(
        witnesses.map((one) => askOne(one, checkpoint, head, options)),
      )
      const signed = answers.flatMap(({ line }, i) => (line === undefined ? [] : [witnesses[i]]))
      askedAt = clock.monotonic()
      isComplete = signed.length === witnesses.length
      onAsked(
        answers.map(({ outcome }) => outcome),
        policy.isQuorum(signed.flatMap((one) => one?.key ?? [])),
      )
      return answers.flatMap(({ line }) => line ?? [])
    },
  }
}

interface Answer {
  readonly line?: string
  readonly outcome: WitnessOutcome
}

/** Never rejects. */
async function askOne(
  witness: Witness,
  checkpoint: string,
  head: TreeHead,
  options: WitnessClientOptions,
): Promise<Answer> {
  const { key, url } = witness
  const fail = (failure: string, isConflict = false): Answer => ({
    outcome: { witness: key.name, failure, isConflict },
  })
  const signal = AbortSignal.timeout(options.timeoutMs)
  try {
    // A witness that remembers another size returns that size, and the second attempt starts from
    // there. The size is used for this round only, so a wrong response has no lasting effect.
    let oldSize = Math.min(witness.size, head.size)
    for (let attempt = 0; attempt < 2; attempt++) {
      const node = options.openNodes(head.size)
      const hashes = proveConsistency(node, oldSize, head.size)
      const body = encodeSubmission({ oldSize, hashes, checkpoint })
      const answer = await post(url, body, signal)
      const { status, text } = answer
      if (status === 409) {
        const size = parseDecimal(text.trimEnd())
        if (size === undefined) return fail('the witness did not return the size of the log')
        if (size > head.size) {
          return fail(
            `the witness has cosigned ${String(size)} entries, but this log has fewer`,
            true,
          )
        }
        oldSize = size
        continue
      }
      if (status !== 200) return fail(describe(answer), status === 422)
      const line = findCosignature(key, checkpoint, text)
      if (line === undefined) return fail('the cosignature of the witness is not valid')
      witness.size = head.size
      return { line, outcome: { witness: key.name } }
    }
    return fail(
      'another client submitted a checkpoint at the same time; retrying in the next round',
    )
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error))
  }
}

function describe({ status, text }: HttpAnswer): string {
  const said = text
    .slice(0, 200)
    .replace(/[^\u0020-\u007e]+/g, ' ')
    .trim()
  return `the witness responded with status ${String(status)}: ${said}`
}

function post(url: string, body: string, signal: AbortSignal): Promise<HttpAnswer> {
  const target = new URL(`${url.replace(/\/$/, '')}/add-checkpoint`)
  const { request } = target.protocol === 'https:' ? https : http
  return exchange(request(target, { method: 'POST', signal }), body, MAX_ANSWER_BYTES)
}

/** Returns the signature line made with this key in a witness's response, if it is valid. */
function findCosignature(key: NoteKey, checkpoint: string, answer: string): string | undefined {
  const lines = answer.split('\n').map((line) => `${line}\n`)
  return lines.find((line) => {
    const note = parseNote(checkpoint + line)
    return note !== undefined && verifyNote(note, [key])?.includes(key) === true
  })
}
