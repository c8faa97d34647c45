/** Implements `latchkey audit prove | prove-event | check-proof`. */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import { AuditError } from '../../audit/errors.ts'
import type { AuditReader } from '../../audit/reader/audit-reader.ts'
import { checkProof } from '../../audit/reader/prove.ts'
import { decodeEntry } from '../../audit/record.ts'
import { CONTROL_LOG } from '../../audit/writer/log-folder.ts'
import { readEvidenceEntry } from '../../core/tlog/evidence.ts'
import { CONFIG_FLAG, type Command, stringFlag, UsageError } from '../../terminal/command.ts'
import { type FoundEntry, readLog, withAuditReader } from '../audit-reader.ts'
import { AUDIT_FLAGS, AUDIT_READ_FLAGS, openLogs } from './audit.ts'

export const auditProve: Command = {
  operands: ['REQUEST_ID'],
  flags: {
    index: {
      type: 'string',
      value: 'N',
      description: 'Index of the entry, if the request has more than one entry.',
    },
    ...AUDIT_READ_FLAGS,
  },
  examples: [
    'latchkey audit prove 9d7e7a1c-7b0e-4c0f-9a57-6f1c6f8a2f31 > decrypt.tlog-proof',
    'latchkey audit check-proof decrypt.tlog-proof --public-key 3Kz…=',
  ],
  async run(context) {
    const [kmsRequestId = ''] = context.operands
    const wanted = stringFlag(context, 'index')
    await withAuditReader(context, async (reader) => {
      const found: FoundEntry[] = []
      for (const log of await reader.logs()) {
        for await (const one of readLog(reader, log, { kmsRequestId })) {
          if (wanted === undefined || String(one.index) === wanted) found.push(one)
        }
      }
      const { log, index, entry } = findOnly(found, kmsRequestId)
      const proof = await reader.prove(log, index)
      context.output.result(proof, { proof, index, entry })
    })
  },
}

/** @throws AuditError AUDIT_NOT_FOUND, UsageError */
function findOnly(found: readonly FoundEntry[], kmsRequestId: string): FoundEntry {
  const [first, ...others] = found
  if (first === undefined) {
    throw new AuditError('AUDIT_NOT_FOUND', `no log has an entry for the request ${kmsRequestId}`, {
      hint: 'if the request is recent, try again: a checkpoint covers a new entry within audit.checkpointInterval',
    })
  }
  if (others.length === 0) return first
  const places = found.map(({ log, index }) => `${log} ${String(index)}`)
  const message = `this request has several entries: ${places.join(', ')}`
  throw new UsageError('USAGE', message, { hint: 'choose one with --index' })
}

export const auditProveEvent: Command = {
  operands: ['NUMBER'],
  flags: AUDIT_READ_FLAGS,
  examples: [
    'latchkey status --events',
    'latchkey audit prove-event 42 > event.tlog-proof',
    'latchkey audit check-proof event.tlog-proof --public-key 3Kz…=',
  ],
  async run(context) {
    const [text = ''] = context.operands
    if (!/^[1-9]\d{0,14}$/.test(text)) {
      throw new UsageError('USAGE', `expected an event number, found ${text}`, {
        hint: 'run latchkey status --events to see the numbers',
      })
    }
    const index = Number(text) - 1
    await withAuditReader(context, async (reader) => {
      const log = await findControlLog(reader)
      const { size } = await readPage(reader, log, index)
      if (index >= size) {
        throw new AuditError('AUDIT_NOT_FOUND', `the control log has ${String(size)} events`, {
          hint: 'servers publish new events every audit.witnesses.interval or, without witnesses, every audit.checkpointInterval (at least 1s); try again after that',
        })
      }
      const proof = await reader.prove(log, index)
      const bytes = readEvidenceEntry(proof)
      context.output.result(proof, { proof, index, entry: bytes && decodeEntry(bytes) })
    })
  },
}

/**
 * Finds the control log by its name, or as a copy in the folder that --folder names.
 * @throws AuditError AUDIT_NOT_FOUND
 */
async function findControlLog(reader: AuditReader): Promise<string> {
  const logs = await reader.logs()
  if (logs.includes(CONTROL_LOG)) return CONTROL_LOG
  const [log, ...others] = logs
  if (log !== undefined && others.length === 0) {
    const { origin } = await readPage(reader, log, 0)
    if (origin.endsWith(`/${CONTROL_LOG}`)) return log
  }
  throw new AuditError('AUDIT_NOT_FOUND', 'the control log was not found', {
    hint: 'check that audit.folder contains a folder named control',
  })
}

function readPage(reader: AuditReader, log: string, index: number) {
  return reader.page(log, {}, { from: index, before: index + 1, newest: false, limit: 1 })
}

export const auditCheckProof: Command = {
  operands: ['FILE'],
  flags: { 'public-key': AUDIT_FLAGS['public-key'], ...CONFIG_FLAG },
  examples: ['latchkey audit check-proof decrypt.tlog-proof --public-key 3Kz…='],
  async run(context) {
    const [file = ''] = context.operands
    const text = await readFile(file, 'utf8')
    const publicKey = stringFlag(context, 'public-key') ?? (await openLogs(context)).publicKey
    const { entry, index, checkpoint } = checkProof(text, publicKey)
    const { origin, size } = checkpoint
    const place = `entry ${String(index)} of ${String(size)} in ${origin}`
    context.output.result(`valid: ${place}\n${JSON.stringify(entry, undefined, 2)}`, {
      ...{ valid: true, origin, index, size, entry },
    })
  },
}
