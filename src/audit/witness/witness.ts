/**
 * A witness (c2sp.org/tlog-witness) cosigns a checkpoint only if it extends the last checkpoint
 * that the witness cosigned, so a log cannot show two different histories. The witness writes its
 * state to disk before it responds.
 */
// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { openCheckpoint, parseCheckpoint } from '../../core/tlog/checkpoint.ts'
import { EMPTY_ROOT, isConsistent } from '../../core/tlog/merkle.ts'
import { type NoteKey, type NoteSigner, parseNote } from '../../core/tlog/note.ts'
import { replaceSynced, syncFolder } from '../writer/durable.ts'
import { parseSubmission, SIZE_TYPE } from './submission.ts'

export interface WitnessAnswer {
  readonly status: number
  readonly body: string
  readonly contentType: string
}

/** A call to the witness, with the fields to log. */
export interface WitnessEvent {
  readonly origin: string
  readonly size: number
  readonly status: number
  readonly reason: string
}

export interface WitnessOptions {
  /** Directory that holds each log's last checkpoint. Only one process may use it. */
  readonly folder: string
  /** A key of type `cosignature`. */
  readonly signer: NoteSigner
  /** Keys of the logs that this witness cosigns. */
  readonly logs: readonly NoteKey[]
  readonly onEvent: (event: WitnessEvent) => void
}

export interface Witness {
  /** @param body the body of an `add-checkpoint` request */
  addCheckpoint(body: string): Promise<WitnessAnswer>
  /** @param originHash SHA-256 of the origin, in hex */
  checkpoint(originHash: string): Promise<WitnessAnswer>
}

const TEXT = 'text/plain; charset=utf-8'
const CHECKPOINT = 'checkpoint'

export function createWitness({ folder, signer, logs, onEvent }: WitnessOptions): Witness {
  /** The most recent call for each log; calls for the same log run sequentially. */
  const turns = new Map<string, Promise<unknown>>()
  const folderOf = (origin: string) => join(folder, hash('sha256', origin, 'hex'))
  const loadLast = (origin: string) => readText(join(folderOf(origin), CHECKPOINT))

  /** @throws a system error if the state cannot be read or written */
  async function add(log: readonly NoteKey[], body: string): Promise<WitnessAnswer> {
    const submission = parseSubmission(body)
    const note = submission && parseNote(submission.checkpoint)
    const head = note && parseCheckpoint(note.text)
    if (submission === undefined || head === undefined)
      return refuse(400, 'expected an old size, a proof and a checkpoint')
    const { origin, size, root } = head
    const say = (status: number, reason: string) => {
      onEvent({ origin, size, status, reason })
      return refuse(status, reason)
    }
    const key = log.find((one) => openCheckpoint(submission.checkpoint, one) !== undefined)
    if (key === undefined) return say(403, 'the checkpoint has no valid signature from the log')
    const { oldSize, hashes } = submission
    if (oldSize > size) return say(400, 'the old size is larger than the size of the checkpoint')
    const last = await loadLast(origin)
    const lastHead = last === undefined ? undefined : openCheckpoint(last, key)
    // A damaged file must not be mistaken for a log that was never seen.
    if (last !== undefined && lastHead === undefined)
      return say(500, "this witness's record of the log is damaged")
    const known = lastHead ?? { size: 0, root: EMPTY_ROOT }
    if (oldSize !== known.size) {
      onEvent({
        origin,
        size,
        status: 409,
        reason: `the last cosigned size is ${String(known.size)}`,
      })
      return { status: 409, body: `${String(known.size)}\n`, contentType: SIZE_TYPE }
    }
    if (size === 0 && !root.equals(EMPTY_ROOT))
      return say(422, 'the root hash is not that of an empty log')
    if (!isConsistent(known, head, hashes)) {
      return say(
        422,
        `the checkpoint is not consistent with the ${String(known.size)} entries already cosigned`,
      )
    }
    const text = note?.text ?? ''
    const cosignature = signer.sign(text)
    const signatures = (note?.signatures ?? []).filter(
      ({ name, bytes }) => name === key.name && bytes.subarray(0, 4).equals(key.id),
    )
    const lines = signatures.map(
      ({ name, bytes }) => `\u2014 ${name} ${bytes.toString('base64')}\n`,
    )
    await mkdir(folderOf(origin), { recursive: true, mode: 0o755 })
    await replaceSynced(
      join(folderOf(origin), CHECKPOINT),
      `${text}\n${lines.join('')}${cosignature}`,
    )
    syncFolder(folder)
    onEvent({ origin, size, status: 200, reason: 'cosigned' })
    return { status: 200, body: cosignature, contentType: TEXT }
  }

  return {
    addCheckpoint(body) {
      const origin = originOf(body)
      const log = logs.filter(({ name }) => name === origin)
      if (log.length === 0)
        return Promise.resolve(refuse(404, 'this witness does not know the log'))
      const turn = (turns.get(origin) ?? Promise.resolve()).then(() => add(log, body))
      turns.set(
        origin,
        turn.catch(() => undefined),
      )
      return turn
    },
    async checkpoint(originHash) {
      const log = logs.find(({ name }) => hash('sha256', name, 'hex') === originHash)
      const text = log && (await loadLast(log.name))
      return text === undefined
        ? refuse(404, 'no checkpoint')
        : { status: 200, body: text, contentType: TEXT }
    },
  }
}

function refuse(status: number, reason: string): WitnessAnswer {
  return { status, body: `${reason}\n`, contentType: TEXT }
}

/** Returns the origin, the first line of the checkpoint. */
function originOf(body: string): string {
  return body.slice(body.indexOf('\n\n') + 2).split('\n', 1)[0] ?? ''
}

async function readText(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return undefined
  })
}
