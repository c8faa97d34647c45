/**
 * Groups items by id in bounded memory: items are partitioned into files by a hash of their id, and
 * each file is grouped on its own. A file that is too large to group in memory is partitioned
 * again.
 */
// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto'
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * Number of files at the first level, and number of files into which an oversized file is split.
 */
const PARTITIONS = 256
const PARTS = 16
/**
 * Each level uses a different byte of the hash, so a deeper level separates ids that share a file
 * on the level above.
 */
const MAX_DEPTH = 6
/** Number of characters that a partition keeps in memory before it writes them to its file. */
const BUFFERED = 32 * 1024
/** Largest file that is grouped in memory. */
const MAX_GROUPED_BYTES = 24 * 1024 * 1024
const CHUNK_BYTES = 1024 * 1024
/**
 * Maximum number of items returned for each id and side. A caller controls how often an id is
 * repeated.
 */
const MAX_ITEMS = 100

export interface SpillItem {
  readonly side: string
}

export interface Group<Item> {
  readonly id: string
  /** Up to 100 items per side, in insertion order. */
  readonly items: readonly Item[]
  /** Number of further items per side. */
  readonly more: Readonly<Record<string, number>>
}

export interface Spill<Item> {
  add(id: string, item: Item): void
  /** Yields each id once. Call once, after the last item has been added. */
  groups(): Generator<Group<Item>, void, undefined>
  /** Removes the files. */
  close(): void
}

export interface SpillOptions {
  /** Directory for the files (default: the system's temporary directory). */
  readonly folder?: string | undefined
  readonly maxGroupedBytes?: number | undefined
}

export function createSpill<Item extends SpillItem>({
  folder = tmpdir(),
  maxGroupedBytes = MAX_GROUPED_BYTES,
}: SpillOptions = {}): Spill<Item> {
  const path = mkdtempSync(join(folder, 'latchkey-reconcile-'))
  const level = new Level(path, 0)

  function* groupsOf(partitions: readonly Partition[], depth: number): Generator<Group<Item>> {
    for (const partition of partitions) {
      partition.flush()
      if (partition.bytes > maxGroupedBytes && depth < MAX_DEPTH) {
        const deeper = new Level(partition.path, depth + 1)
        for (const line of partition.lines()) deeper.add(idOf(line), line)
        partition.remove()
        yield* groupsOf(deeper.partitions, depth + 1)
      } else {
        yield* toGroups<Item>(partition.lines())
        partition.remove()
      }
    }
  }

  return {
    add(id, item) {
      level.add(id, JSON.stringify([id, item]))
    },
    groups: () => groupsOf(level.partitions, 0),
    close() {
      // If a caller stops before the last group, files of deeper levels are still open.
      for (const partition of level.partitions) partition.remove()
      rmSync(path, { recursive: true, force: true })
    },
  }
}

const idOf = (line: string) => (JSON.parse(line) as [string])[0]

function toGroups<Item extends SpillItem>(lines: Iterable<string>): Iterable<Group<Item>> {
  const groups = new Map<string, { id: string; items: Item[]; more: Record<string, number> }>()
  for (const line of lines) {
    const [id, item] = JSON.parse(line) as [string, Item]
    let group = groups.get(id)
    if (group === undefined) groups.set(id, (group = { id, items: [], more: {} }))
    const { side } = item
    if (group.items.length < MAX_ITEMS || countOf(group.items, side) < MAX_ITEMS) {
      group.items.push(item)
    } else group.more[side] = (group.more[side] ?? 0) + 1
  }
  return groups.values()
}

function countOf(items: readonly SpillItem[], side: string): number {
  return items.reduce((count, item) => count + (item.side === side ? 1 : 0), 0)
}

class Level {
  readonly partitions: readonly Partition[]
  readonly #depth: number

  constructor(path: string, depth: number) {
    const count = depth === 0 ? PARTITIONS : PARTS
    const separator = depth === 0 ? '/' : '-'
    this.#depth = depth
    this.partitions = Array.from(
      { length: count },
      (_, i) => new Partition(`${path}${separator}${String(i)}`),
    )
  }

  add(id: string, line: string): void {
    const byte = hash('sha256', id, 'buffer').readUInt8(this.#depth)
    this.partitions[byte % this.partitions.length]?.add(line)
  }
}

class Partition {
  readonly path: string
  bytes = 0
  #text = ''
  #fd: number | undefined

  constructor(path: string) {
    this.path = path
  }

  add(line: string): void {
    this.#text += `${line}\n`
    if (this.#text.length > BUFFERED) this.flush()
  }

  flush(): void {
    if (this.#text === '') return
    const bytes = Buffer.from(this.#text, 'utf8')
    this.#fd ??= openSync(this.path, 'wx', 0o600)
    for (let at = 0; at < bytes.length;) at += writeSync(this.#fd, bytes, at)
    this.bytes += bytes.length
    this.#text = ''
  }

  *lines(): Generator<string, void, undefined> {
    if (this.#fd === undefined) return
    const fd = openSync(this.path, 'r')
    try {
      yield* readLines(fd)
    } finally {
      closeSync(fd)
    }
  }

  remove(): void {
    if (this.#fd !== undefined) {
      closeSync(this.#fd)
      rmSync(this.path, { force: true })
    }
    this.#fd = undefined
    this.#text = ''
  }
}

function* readLines(fd: number): Generator<string, void, undefined> {
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES)
  let rest = Buffer.alloc(0)
  for (let count = readSync(fd, chunk); count > 0; count = readSync(fd, chunk)) {
    const bytes = Buffer.concat([rest, chunk.subarray(0, count)])
    let start = 0
    for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, start)) {
      yield bytes.toString('utf8', start, end)
      start = end + 1
    }
    rest = bytes.subarray(start)
  }
}
