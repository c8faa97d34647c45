/**
 * Verifies a log from its files alone: each entry against its hash, each hash against the tiles,
 * the root against the signed checkpoint, and the checkpoint against heads known from other
 * sources.
 */
// SPDX-License-Identifier: Apache-2.0
import type { LogPolicy } from '../../core/tlog/policy.ts'
import { type NodeReader, rootOf, type TreeHead, hashLeaf } from '../../core/tlog/merkle.ts'
import { GrowingTree, type Tile, TILE_WIDTH, tilePath } from '../log/tiles.ts'
import { isOpenLog } from '../writer/log-folder.ts'
import { EntryOrder, type OrderSummary } from './entry-order.ts'
import type { Problem } from './problem.ts'
import {
  bundlesOf,
  type OpenedLog,
  openLog,
  openNodes,
  readBundle,
  readTile,
  widthOf,
} from './log-reader.ts'

export interface KnownHead extends TreeHead {
  /** Source of the head, such as `the store`. */
  readonly source: string
}

/** Information about a log from another source, such as the store. */
export interface KnownLog {
  /** Heads of earlier checkpoints, which the log must continue. */
  readonly heads: readonly KnownHead[]
  /** The log's verifier key and the host of its process. Each is absent if unknown. */
  readonly verifierKey?: string | undefined
  readonly host?: string | undefined
}

export interface LogReport extends OrderSummary {
  readonly folder: string
  readonly origin: string | undefined
  /** Whether this is the control log; false if its certificate is not valid. */
  readonly isControl: boolean
  /** The process's host; undefined for the control log. */
  readonly host: string | undefined
  /**
   * Time at which the process started according to the certificate, in ISO 8601; undefined for the
   * control log.
   */
  readonly startedAt: string | undefined
  readonly size: number
  readonly root: string | undefined
  /** Number of entries pruned from the beginning; only their hashes were verified. */
  readonly pruned: number
  /** Names of the witnesses that cosigned the checkpoint. */
  readonly witnesses: readonly string[]
  /** Whether a process is writing the log, or exited without closing it. */
  readonly isOpen: boolean
  readonly problems: readonly Problem[]
}

export interface VerifyOptions {
  /** The store's public key. */
  readonly publicKey: string
  /** Returns what is known about the log with this origin, at this size. */
  readonly known?: (origin: string, size: number) => KnownLog | Promise<KnownLog>
  /** Witnesses whose cosignatures the control log must have. */
  readonly policy?: LogPolicy | undefined
  readonly onProgress?: (entries: number) => void
}

/** Maximum number of problems to report; more would add no information. */
const MAX_PROBLEMS = 20

export async function verifyLog(folder: string, options: VerifyOptions): Promise<LogReport> {
  const { publicKey, policy, known } = options
  const isOpen = isOpenLog(folder)
  let log: OpenedLog
  try {
    log = await openLog(
      folder,
      publicKey,
      policy?.witnesses.map(({ key }) => key),
    )
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    return {
      ...{ folder, origin: undefined, size: 0, root: undefined, isOpen, requests: 0, lost: 0 },
      ...{ firstTime: undefined, lastTime: undefined, problems: [{ kind: 'signature', message }] },
      ...{ pruned: 0, witnesses: [], host: undefined, startedAt: undefined, isControl: false },
    }
  }
  const { checkpoint, certificate, pruned } = log
  const { origin, size, root, witnesses } = checkpoint
  const check = new LogCheck(log)
  await check.run(options.onProgress ?? (() => undefined))
  if (check.problems.length === 0) {
    const facts = (await known?.(origin, size)) ?? { heads: [] }
    const { heads, verifierKey = certificate.verifierKey } = facts
    check.compareHeads(heads)
    if (verifierKey !== certificate.verifierKey) {
      const message = 'the control log records a different key for this log'
      check.problems.push({ kind: 'signature', message })
    }
  }
  const isControl = certificate.kind === 'control log'
  if (isControl && policy?.isQuorum(witnesses) === false) {
    const names = witnesses.map(({ name }) => name).join(', ')
    const message = `cosigned by ${names === '' ? 'no witness' : names}, which is not a quorum under the witness policy`
    check.problems.push({ kind: 'witness', message })
  }
  return {
    ...{ folder, origin, size, isControl, isOpen, pruned },
    root: root.toString('base64'),
    host: certificate.host,
    startedAt: 'startedAt' in certificate ? String(certificate.startedAt) : undefined,
    witnesses: witnesses.map(({ name }) => name),
    ...check.summary(),
    problems: check.problems,
  }
}

class LogCheck {
  readonly problems: Problem[] = []
  readonly #folder: string
  readonly #size: number
  readonly #root: Buffer
  readonly #pruned: number
  readonly #tree = new GrowingTree()
  readonly #order: EntryOrder

  constructor({ folder, checkpoint, pruned, certificate }: OpenedLog) {
    this.#folder = folder
    this.#size = checkpoint.size
    this.#root = checkpoint.root
    this.#pruned = pruned
    this.#order = new EntryOrder(certificate.kind === 'control log', (problem) => {
      this.#report(problem)
    })
  }

  summary() {
    return this.#order.summary
  }

  async run(onProgress: (entries: number) => void): Promise<void> {
    for (let bundle = 0; bundle < bundlesOf(this.#size); bundle++) {
      const isPruned = bundle * TILE_WIDTH < this.#pruned
      if (!(isPruned ? this.#skipBundle(bundle) : this.#checkBundle(bundle))) return
      onProgress(this.#tree.size)
      if (bundle % 64 === 63) await new Promise((resolve) => setImmediate(resolve))
    }
    for (const tile of this.#tree.partials()) this.#checkTile(tile)
    if (this.problems.length === 0 && !this.#tree.root().equals(this.#root)) {
      this.#report({
        kind: 'root',
        message: 'the root hash of the entries does not match the signed root',
      })
    }
  }

  /** Returns false if the entries cannot be read, which ends verification. */
  #checkBundle(bundle: number): boolean {
    const width = widthOf(bundle, this.#size)
    const entries = readBundle(this.#folder, bundle, width)
    const first = bundle * TILE_WIDTH
    if (entries === undefined) {
      const path = tilePath('entries', bundle, width)
      this.#report({
        kind: 'file',
        message: 'the file is missing, too short or damaged',
        path,
        index: first,
      })
      return false
    }
    const hashes = readTile(this.#folder, 0, bundle, width)
    for (const [i, entry] of entries.entries()) {
      const leaf = hashLeaf(entry)
      const index = first + i
      const expected = hashes?.[i]
      if (expected !== undefined && !leaf.equals(expected)) {
        const path = tilePath('entries', bundle, width)
        this.#report({ kind: 'entry', message: 'the entry does not match its hash', path, index })
      }
      this.#order.take(index, entry)
      for (const tile of this.#tree.appendHash(leaf)) this.#checkTile(tile)
    }
    return true
  }

  /** Reads the hashes of pruned entries. Returns false if they are missing. */
  #skipBundle(bundle: number): boolean {
    const width = widthOf(bundle, this.#size)
    const hashes = readTile(this.#folder, 0, bundle, width)
    if (hashes === undefined) {
      const path = tilePath(0, bundle, width)
      const index = bundle * TILE_WIDTH
      this.#report({ kind: 'file', message: 'the file is missing or too short', path, index })
      return false
    }
    this.#order.skip()
    for (const leaf of hashes) for (const tile of this.#tree.appendHash(leaf)) this.#checkTile(tile)
    return true
  }

  #checkTile({ level, index, hashes }: Tile): void {
    const path = tilePath(level, index, hashes.length)
    const found = readTile(this.#folder, level, index, hashes.length)
    const at = index * TILE_WIDTH ** (level + 1)
    if (found === undefined) {
      this.#report({ kind: 'file', message: 'the file is missing or too short', path, index: at })
      return
    }
    const wrong = hashes.findIndex((one, i) => found[i]?.equals(one) !== true)
    if (wrong < 0) return
    // On the lowest level, a wrong hash means either a changed entry, which was already reported,
    // or a changed hash, which is reported here.
    if (level === 0 && this.problems.some(({ index: known }) => known === at + wrong)) return
    this.#report({
      ...{ kind: 'hash', message: 'the hash does not match the entries', path },
      index: at + wrong * TILE_WIDTH ** level,
    })
  }

  compareHeads(heads: readonly KnownHead[]): void {
    const node: NodeReader = openNodes(this.#folder, this.#size)
    for (const { size, root, source } of heads) {
      if (size > this.#size) {
        this.#report({
          kind: 'rolled-back',
          message: `${source} records ${String(size)} entries, but the log has only ${String(this.#size)}`,
          index: this.#size,
        })
      } else if (!rootOf(node, size).equals(root)) {
        this.#report({
          kind: 'forked',
          message: `the first ${String(size)} entries differ from those that ${source} records`,
        })
      }
    }
  }

  #report(problem: Problem): void {
    if (this.problems.length < MAX_PROBLEMS) this.problems.push(problem)
  }
}
