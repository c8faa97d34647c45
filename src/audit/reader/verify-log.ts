/**
 * Verifies a log from its files alone: each entry against its hash, each hash against the tiles, the
 * root against the signed checkpoint, and the checkpoint against heads that are known from elsewhere.
 */
// SPDX-License-Identifier: Apache-2.0
import { type NodeReader, rootOf, type TreeHead, hashLeaf } from '../log/merkle.ts'
import { GrowingTree, type Tile, TILE_WIDTH, tilePath } from '../log/tiles.ts'
import { type AuditEntry, decodeEntry } from '../record.ts'
import { isOpenLog } from '../writer/log-folder.ts'
import {
  bundlesOf,
  type OpenedLog,
  openLog,
  openNodes,
  readBundle,
  readTile,
  widthOf,
} from './log-reader.ts'

export type ProblemKind =
  /** The certificate or the checkpoint is missing, or not signed by the expected key. */
  | 'signature'
  /** A file is missing or too short. */
  | 'file'
  /** An entry does not match its hash. */
  | 'entry'
  /** A hash does not match the entries below it. */
  | 'hash'
  /** The entries do not lead to the signed root. */
  | 'root'
  /** An entry is not in canonical form or not in a valid position. */
  | 'form'
  /** The log is shorter than it once was. */
  | 'rolled-back'
  /** The log does not continue the known history. */
  | 'forked'
  /** A log that the store knows is missing. */
  | 'missing'

export interface Problem {
  readonly kind: ProblemKind
  readonly message: string
  /** File below the folder of the log. */
  readonly path?: string
  /** Index of the first entry that is affected. */
  readonly index?: number
}

export interface KnownHead extends TreeHead {
  /** Source of the head, such as `the store`. */
  readonly source: string
}

export interface LogReport {
  readonly folder: string
  readonly origin: string | undefined
  readonly size: number
  readonly root: string | undefined
  /** Whether a process writes the log, or ended without closing it. */
  readonly isOpen: boolean
  /** Entries of requests. */
  readonly requests: number
  /** Entries that the process could not write, by the gaps in their numbers. */
  readonly lost: number
  readonly firstTime: string | undefined
  readonly lastTime: string | undefined
  readonly problems: readonly Problem[]
}

export interface VerifyOptions {
  /** Public key of the store. */
  readonly publicKey: string
  /** Returns heads of earlier checkpoints of an origin, which its log must continue. */
  readonly heads?: (origin: string) => readonly KnownHead[]
  readonly onProgress?: (entries: number) => void
}

/** Further problems would add no information. */
const MAX_PROBLEMS = 20

export async function verifyLog(folder: string, options: VerifyOptions): Promise<LogReport> {
  const isOpen = isOpenLog(folder)
  let log: OpenedLog
  try {
    log = await openLog(folder, options.publicKey)
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    return {
      ...{ folder, origin: undefined, size: 0, root: undefined, isOpen, requests: 0, lost: 0 },
      ...{ firstTime: undefined, lastTime: undefined, problems: [{ kind: 'signature', message }] },
    }
  }
  const { checkpoint } = log
  const check = new LogCheck(folder, checkpoint.size)
  await check.run(checkpoint.root, options.onProgress ?? (() => undefined))
  if (check.problems.length === 0) {
    check.compareHeads(options.heads?.(checkpoint.origin) ?? [])
  }
  return {
    ...{ folder, origin: checkpoint.origin, size: checkpoint.size, isOpen },
    root: checkpoint.root.toString('base64'),
    ...check.summary(),
    problems: check.problems,
  }
}

class LogCheck {
  readonly problems: Problem[] = []
  readonly #folder: string
  readonly #size: number
  readonly #tree = new GrowingTree()
  readonly #order: EntryOrder

  constructor(folder: string, size: number) {
    this.#folder = folder
    this.#size = size
    this.#order = new EntryOrder((problem) => {
      this.#report(problem)
    })
  }

  summary() {
    return this.#order.summary
  }

  async run(root: Buffer, onProgress: (entries: number) => void): Promise<void> {
    for (let bundle = 0; bundle < bundlesOf(this.#size); bundle++) {
      if (!this.#checkBundle(bundle)) return
      onProgress(this.#tree.size)
      // Yields to the event loop.
      if (bundle % 64 === 63) await new Promise((resolve) => setImmediate(resolve))
    }
    for (const tile of this.#tree.partials()) this.#checkTile(tile)
    if (this.problems.length === 0 && !this.#tree.root().equals(root)) {
      this.#report({ kind: 'root', message: 'the entries do not lead to the signed root' })
    }
  }

  /** Returns false if the entries cannot be read, which ends the check. */
  #checkBundle(bundle: number): boolean {
    const width = widthOf(bundle, this.#size)
    const entries = readBundle(this.#folder, bundle, width)
    const first = bundle * TILE_WIDTH
    if (entries === undefined) {
      const path = tilePath('entries', bundle, width)
      this.#report({ kind: 'file', message: 'missing, too short or damaged', path, index: first })
      return false
    }
    const hashes = readTile(this.#folder, 0, bundle, width)
    for (const [i, entry] of entries.entries()) {
      const leaf = hashLeaf(entry)
      const index = first + i
      const expected = hashes?.[i]
      if (expected !== undefined && !leaf.equals(expected)) {
        const path = tilePath('entries', bundle, width)
        this.#report({ kind: 'entry', message: 'does not match its hash', path, index })
      }
      this.#order.take(index, entry)
      for (const tile of this.#tree.appendHash(leaf)) this.#checkTile(tile)
    }
    return true
  }

  #checkTile({ level, index, hashes }: Tile): void {
    const path = tilePath(level, index, hashes.length)
    const found = readTile(this.#folder, level, index, hashes.length)
    const at = index * TILE_WIDTH ** (level + 1)
    if (found === undefined) {
      this.#report({ kind: 'file', message: 'missing or too short', path, index: at })
      return
    }
    const wrong = hashes.findIndex((one, i) => found[i]?.equals(one) !== true)
    if (wrong < 0) return
    // At the lowest level, a wrong hash comes from a changed entry, which was already reported, or
    // from a changed hash, which is reported here.
    if (level === 0 && this.problems.some(({ index: known }) => known === at + wrong)) return
    this.#report({
      ...{ kind: 'hash', message: 'does not match the entries', path },
      index: at + wrong * TILE_WIDTH ** level,
    })
  }

  compareHeads(heads: readonly KnownHead[]): void {
    const node: NodeReader = openNodes(this.#folder, this.#size)
    for (const { size, root, source } of heads) {
      if (size > this.#size) {
        this.#report({
          kind: 'rolled-back',
          message: `${source} knows ${String(size)} entries, the log has ${String(this.#size)}`,
          index: this.#size,
        })
      } else if (!rootOf(node, size).equals(root)) {
        this.#report({
          kind: 'forked',
          message: `the first ${String(size)} entries differ from those that ${source} knows`,
        })
      }
    }
  }

  #report(problem: Problem): void {
    if (this.problems.length < MAX_PROBLEMS) this.problems.push(problem)
  }
}

/** Follows the numbers of entries, which show what was lost before it reached the log. */
class EntryOrder {
  readonly #report: (problem: Problem) => void
  #next = 0
  #last: AuditEntry | undefined
  #requests = 0
  #lost = 0
  #firstTime: string | undefined
  #lastTime: string | undefined

  constructor(report: (problem: Problem) => void) {
    this.#report = report
  }

  get summary() {
    return {
      ...{ requests: this.#requests, lost: this.#lost },
      ...{ firstTime: this.#firstTime, lastTime: this.#lastTime },
    }
  }

  take(index: number, bytes: Buffer): void {
    const entry = decodeEntry(bytes)
    if (entry === undefined) {
      this.#report({ kind: 'form', message: 'not an entry in canonical JSON', index })
      return
    }
    const { kind, seq, time } = entry
    if ((index === 0) !== (kind === 'start')) {
      this.#report({
        kind: 'form',
        message: `an entry of kind ${kind} does not belong here`,
        index,
      })
    }
    if (this.#last?.kind === 'recovered' || this.#last?.kind === 'stop') {
      const isRecovery = this.#last.kind === 'stop' && kind === 'recovered'
      if (!isRecovery) this.#report({ kind: 'form', message: 'the log was already closed', index })
    }
    if (kind !== 'recovered') {
      const number = seq ?? -1
      if (number < this.#next)
        this.#report({ kind: 'form', message: 'its number was already used', index })
      else this.#lost += number - this.#next
      this.#next = Math.max(this.#next, number + 1)
    }
    this.#last = entry
    if (kind === 'request') this.#requests += 1
    this.#firstTime ??= time
    this.#lastTime = time ?? this.#lastTime
  }
}
