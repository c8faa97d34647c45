/**
 * Groups items by an id, in memory that does not grow with their number: items go to files by a
 * hash of their id, and each file is grouped by itself.
 */
// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const PARTITIONS = 128
/** Characters that a partition keeps in memory before it writes them. */
const BUFFERED = 64 * 1024

export interface Spill<Item> {
  add(id: string, item: Item): void
  /** Returns each id once, with all of its items. */
  groups(): Generator<readonly [id: string, items: readonly Item[]], void, undefined>
  /** Removes the files. */
  close(): void
}

/** @param folder folder of the files (default: the system's folder for temporary files) */
export function createSpill<Item>(folder = tmpdir()): Spill<Item> {
  const path = mkdtempSync(join(folder, 'latchkey-reconcile-'))
  const partitions = Array.from({ length: PARTITIONS }, (_, i) => ({
    path: join(path, String(i)),
    text: '',
    fd: undefined as number | undefined,
  }))

  function write(partition: (typeof partitions)[number]): void {
    partition.fd ??= openSync(partition.path, 'wx', 0o600)
    writeSync(partition.fd, partition.text)
    partition.text = ''
  }

  return {
    add(id, item) {
      const partition = partitions[hash('sha256', id, 'buffer').readUInt8() % PARTITIONS]
      if (partition === undefined) throw new RangeError('there is no such partition')
      partition.text += `${JSON.stringify([id, item])}\n`
      if (partition.text.length > BUFFERED) write(partition)
    },
    *groups() {
      for (const partition of partitions) {
        if (partition.fd !== undefined) write(partition)
        const text =
          partition.fd === undefined ? partition.text : readFileSync(partition.path, 'utf8')
        const groups = new Map<string, Item[]>()
        for (const line of text.split('\n')) {
          if (line === '') continue
          const [id, item] = JSON.parse(line) as [string, Item]
          const group = groups.get(id)
          if (group === undefined) groups.set(id, [item])
          else group.push(item)
        }
        yield* groups
      }
    },
    close() {
      for (const { fd } of partitions) if (fd !== undefined) closeSync(fd)
      rmSync(path, { recursive: true, force: true })
    },
  }
}
