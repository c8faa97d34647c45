/**
 * The history of the epoch, which tells a store that continued from one that was restored and then
 * diverged.
 */
// SPDX-License-Identifier: Apache-2.0
import { drawFromKernel } from '../core/kernel-random.ts'
import { StorageError, type Reader, type SqlValue, type Transaction } from './database.ts'
import { column } from './sealed-rows.ts'
import { notWritten } from './sealed-state.ts'
import type { Sealing } from './sealing.ts'

/**
 * One change of the store. If two copies of a store diverge, the tags of their later changes
 * differ.
 */
export interface EpochMark {
  readonly epoch: number
  /** Random; empty for epochs of the first schema, which kept no history. */
  readonly tag: string
}

const TAG_BYTES = 12

export function createTag(): string {
  return drawFromKernel(TAG_BYTES).toString('base64url')
}

/** Fields that the code of an epoch covers. */
export function epochFields(epoch: number, tag: string, acceptsAny: number): readonly SqlValue[] {
  return ['epochs', epoch, tag, acceptsAny]
}

/** @param acceptsAny whether a server that has seen another history may continue from here */
export async function writeEpoch(
  transaction: Transaction,
  sealing: Sealing,
  { epoch, tag }: EpochMark,
  acceptsAny: boolean,
): Promise<void> {
  const flag = acceptsAny ? 1 : 0
  await transaction.execute(
    'INSERT INTO epochs (epoch, tag, accepts_any, mac) VALUES (?, ?, ?, ?)',
    [epoch, tag, flag, sealing.authenticate(epochFields(epoch, tag, flag))],
  )
  const written = await readMark(transaction, sealing, epoch)
  if (written.tag !== tag) throw notWritten(`epochs ${String(epoch)}`)
}

/**
 * Returns the mark of an epoch; its tag is empty if the store has none.
 * @throws StorageError STORE_TAMPERED
 */
export async function readMark(
  reader: Reader,
  sealing: Sealing,
  epoch: number,
): Promise<EpochMark> {
  const [row] = await reader.query('SELECT tag, accepts_any, mac FROM epochs WHERE epoch = ?', [
    epoch,
  ])
  if (row === undefined) return { epoch, tag: '' }
  const tag = String(column(row, 'tag'))
  const fields = epochFields(epoch, tag, Number(column(row, 'accepts_any')))
  if (!sealing.isAuthentic(fields, column(row, 'mac'))) {
    throw new StorageError('STORE_TAMPERED', `changed outside of Latchkey: epochs ${String(epoch)}`)
  }
  return { epoch, tag }
}

/**
 * Reports whether the store continues the history seen before: it is not older than `seen`, and had
 * exactly that mark then. Otherwise the store was restored from a copy or belongs to another
 * replica, unless an operator has accepted it since.
 */
export async function continues(
  reader: Reader,
  sealing: Sealing,
  current: number,
  seen: EpochMark,
): Promise<boolean> {
  if (current >= seen.epoch) {
    const then = await readMark(reader, sealing, seen.epoch)
    if (seen.tag === '' || then.tag === seen.tag) return true
  }
  return isAccepted(reader, sealing, seen.epoch, current)
}

/** Reports whether an operator has accepted the store at an epoch after `from`. */
export async function isAccepted(
  reader: Reader,
  sealing: Sealing,
  from: number,
  current: number,
): Promise<boolean> {
  const rows = await reader.query(
    'SELECT epoch, tag, mac FROM epochs WHERE accepts_any = 1 AND epoch > ? AND epoch <= ?',
    [from, current],
  )
  return rows.some((row) =>
    sealing.isAuthentic(
      epochFields(Number(column(row, 'epoch')), String(column(row, 'tag')), 1),
      column(row, 'mac'),
    ),
  )
}
