/**
 * The epoch history, which distinguishes a store that has continued from one that was restored and
 * has diverged.
 */
// SPDX-License-Identifier: Apache-2.0
import { drawFromKernel } from '../core/kernel-random.ts'
import { turn } from '../core/slices.ts'
import {
  type ExpectedQuery,
  StorageError,
  type Reader,
  type Row,
  type SqlValue,
  type Transaction,
} from './database.ts'
import { column } from './sealed-rows.ts'
import { notWritten } from './sealed-state.ts'
import type { Sealing } from './sealing.ts'

/**
 * One change to the store. If two copies of a store diverge, their later changes have different
 * tags.
 */
export interface EpochMark {
  readonly epoch: number
  /**
   * A random part, followed by the random part of the previous epoch's tag. Empty for epochs from
   * schema version 1, which kept no history.
   */
  readonly tag: string
}

const TAG_BYTES = 12
/**
 * A random part, a separator that says whether the epoch is quiet, and the random part of the
 * previous epoch's tag. Earlier releases linked only quiet epochs.
 */
const TAG = /^([\w-]{16})(?:([~.])([\w-]{16}))?$/
const QUIET = '~'
const NOT_QUIET = '.'
/**
 * Maximum number of epochs that `isQuietSince` verifies, which takes well under two milliseconds.
 */
const MOST_QUIET = 100
/** Number of epochs that `readHistory` verifies in one turn of the event loop. */
const PAGE = 200

/**
 * Creates the tag of an epoch that follows the one whose tag is `before`. The change of a quiet
 * epoch affects no other instance.
 */
export function createTag(before: string, options?: { readonly isQuiet?: boolean }): string {
  const { random } = parseTag(before)
  if (random === undefined) return drawRandom()
  return `${drawRandom()}${options?.isQuiet === true ? QUIET : NOT_QUIET}${random}`
}

/** Creates a tag whose link matches no epoch. */
export function createForeignTag(): string {
  return createTag(drawRandom())
}

function drawRandom(): string {
  return drawFromKernel(TAG_BYTES).toString('base64url')
}

function parseTag(tag: string) {
  const [, random, separator, link] = TAG.exec(tag) ?? []
  return { random, link, isQuiet: separator === QUIET }
}

/** Fields that an epoch's MAC covers. */
export function epochFields(epoch: number, tag: string, acceptsAny: number): readonly SqlValue[] {
  return ['epochs', epoch, tag, acceptsAny]
}

/** @param acceptsAny whether a server that has seen another history may continue from this epoch */
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
 * Returns an epoch's mark, with an empty tag if the store has no such epoch.
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
  return { epoch, tag: verifyEpoch(sealing, epoch, row) }
}

/**
 * Returns the tag of a row.
 * @throws StorageError STORE_TAMPERED
 */
function verifyEpoch(sealing: Sealing, epoch: number, row: Row): string {
  const tag = String(column(row, 'tag'))
  const fields = epochFields(epoch, tag, Number(column(row, 'accepts_any')))
  if (sealing.isAuthentic(fields, column(row, 'mac'))) return tag
  throw new StorageError(
    'STORE_TAMPERED',
    `a row was changed outside of Latchkey: epochs ${String(epoch)}`,
  )
}

/** An epoch whose place in the history is proven. */
export interface ProvenMark extends EpochMark {
  /** Whether an operator accepted the store in this epoch. */
  readonly acceptsAny: boolean
}

/**
 * Yields the epochs from `current` back to `downTo`, newest first. Each must have the tag that the
 * next one names, so an authentic row of another history does not fit. The history ends early where
 * a row is missing or does not fit. Epochs written by earlier releases name no tag; for the row
 * before such an epoch, a valid MAC is enough.
 * @param current as sealed in the state; a mark from `readMark` proves only that it is authentic
 * @throws StorageError STORE_TAMPERED
 */
export async function* readHistory(
  reader: Reader,
  sealing: Sealing,
  current: EpochMark,
  downTo: number,
): AsyncGenerator<ProvenMark, void, undefined> {
  let next: { readonly epoch: number; readonly link: string | undefined } | undefined
  for (;;) {
    const { sql, parameters } = expectHistory(
      downTo,
      next === undefined ? current.epoch : next.epoch - 1,
    )
    const rows = await reader.query(sql, parameters)
    for (const row of rows) {
      const epoch = Number(column(row, 'epoch'))
      const tag = verifyEpoch(sealing, epoch, row)
      const { random, link } = parseTag(tag)
      const fits =
        next === undefined
          ? epoch === current.epoch && tag === current.tag
          : next.link === undefined || next.link === random
      if (!fits) return
      yield { epoch, tag, acceptsAny: column(row, 'accepts_any') === 1 }
      next = { epoch, link }
    }
    if (rows.length < PAGE) return
    await turn()
  }
}

/** Returns the first query of `readHistory`. */
export function expectHistory(downTo: number, currentEpoch: number): ExpectedQuery {
  return {
    sql: `SELECT epoch, tag, accepts_any, mac FROM epochs WHERE epoch >= ? AND epoch <= ?
       ORDER BY epoch DESC LIMIT ?`,
    parameters: [downTo, currentEpoch, PAGE],
  }
}

/**
 * Reports whether the store continues the history seen earlier: its history contains `seen`.
 * Otherwise, the store was restored from a copy or belongs to another replica. A store that an
 * operator has accepted after `seen` also passes.
 * @param current as sealed in the state
 */
export async function continues(
  reader: Reader,
  sealing: Sealing,
  current: EpochMark,
  seen: EpochMark,
): Promise<boolean> {
  // A mark without a tag comes from a release that kept no history.
  if (seen.tag === '' && current.epoch >= seen.epoch) return true
  for await (const { epoch, tag, acceptsAny } of readHistory(
    reader,
    sealing,
    current,
    seen.epoch,
  )) {
    if (epoch > seen.epoch ? acceptsAny : tag === seen.tag) return true
  }
  return false
}

/**
 * SQL expression for the epochs after an epoch, as a text for `isQuietSince`; null if there are
 * none. The epoch is its parameter, twice. It is part of each heartbeat, because a fleet that starts
 * would otherwise send one more statement for each instance and each registration. Without the
 * condition, PostgreSQL would scan a short table each time.
 */
export const EPOCHS_AFTER = `(CASE WHEN (SELECT epoch FROM epochs ORDER BY epoch DESC LIMIT 1) > ? THEN
    (SELECT string_agg(CAST(epoch AS text) || ' ' || tag || ' ' || mac, ' ' ORDER BY epoch)
     FROM (SELECT epoch, tag, mac FROM epochs WHERE epoch > ?
       ORDER BY epoch LIMIT ${String(MOST_QUIET)}) AS later) END)`

/**
 * Reports whether every epoch after `from`, up to and including `to`, is quiet and continues the
 * one before it. Only a holder of the store's key can write such a chain, and only in the history
 * that contains `from`.
 * @param later the value of EPOCHS_AFTER for `from`, read with `to`; empty if there is none
 */
export function isQuietSince(
  sealing: Sealing,
  from: EpochMark,
  to: EpochMark,
  later: string,
): boolean {
  const count = to.epoch - from.epoch
  if (!(count > 0 && count <= MOST_QUIET) || !parseTag(to.tag).isQuiet) return false
  const words = later.split(' ')
  let last = from
  for (let at = 0; at < words.length; at += 3) {
    const epoch = Number(words[at])
    const [tag = '', mac = ''] = words.slice(at + 1, at + 3)
    const { link, isQuiet } = parseTag(tag)
    const { random } = parseTag(last.tag)
    if (epoch !== last.epoch + 1 || !isQuiet || link !== random) return false
    if (!sealing.isAuthentic(epochFields(epoch, tag, 0), mac)) return false
    last = { epoch, tag }
  }
  return last.epoch === to.epoch && last.tag === to.tag
}

/**
 * Reports whether an operator has accepted the store in an epoch after `from`.
 * @param current as sealed in the state
 */
export async function isAccepted(
  reader: Reader,
  sealing: Sealing,
  from: number,
  current: EpochMark,
): Promise<boolean> {
  for await (const { acceptsAny } of readHistory(reader, sealing, current, from + 1)) {
    if (acceptsAny) return true
  }
  return false
}
