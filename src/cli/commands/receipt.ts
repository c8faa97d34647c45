/** Implements `latchkey receipt list | show | verify | key`. */
// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { describeScope } from '../../core/scope.ts'
import type { Receipt, SignedReceipt } from '../../killswitch/receipt/receipt.ts'
import { type Json, toCanonicalJson, verifySigned } from '../../core/signature.ts'
import { checkEvidence } from '../../core/tlog/evidence.ts'
import { CONFIG_FLAG, type Command, UsageError, stringFlag } from '../../terminal/command.ts'
import { CONTEXT_FLAG } from '../../terminal/contexts.ts'
import { withOperator } from '../operator.ts'

export const receiptList: Command = {
  flags: { ...CONTEXT_FLAG, ...CONFIG_FLAG },
  examples: ['latchkey receipt list'],
  async run(context) {
    const receipts = await withOperator(context, (control) => control.receipts())
    const rows = receipts.map(({ statement }) => [
      statement.id,
      toDate(statement.revokedAt),
      `${String(statement.timeToRevokeMs)} ms`,
      describeScope(statement.scope),
      statement.operator,
    ])
    context.output.result(
      context.output.table(['RECEIPT', 'REVOKED', 'AFTER', 'SCOPE', 'OPERATOR'], rows),
      receipts,
    )
  },
}

export const receiptShow: Command = {
  operands: ['SWITCH'],
  flags: { ...CONTEXT_FLAG, ...CONFIG_FLAG },
  examples: ['latchkey receipt show 0f3a5c7d9e1b > receipt.json'],
  async run(context) {
    const [id = ''] = context.operands
    const found = await withOperator(context, (control) => control.findReceipt(id))
    context.output.result(JSON.stringify(found, undefined, 2), found)
  },
}

export const receiptKey: Command = {
  flags: { ...CONTEXT_FLAG, ...CONFIG_FLAG },
  examples: ['latchkey receipt key'],
  async run(context) {
    const publicKey = await withOperator(context, (control) => control.publicKey())
    context.output.result(publicKey, { algorithm: 'Ed25519', publicKey })
  },
}

export const receiptVerify: Command = {
  operands: ['FILE'],
  flags: {
    'public-key': {
      type: 'string',
      value: 'KEY',
      description:
        'Public key, as printed by latchkey receipt key (default: the key of the control store).',
    },
    ...CONTEXT_FLAG,
    ...CONFIG_FLAG,
  },
  examples: ['latchkey receipt verify receipt.json --public-key 3Kz…='],
  async run(context) {
    const [file = ''] = context.operands
    const signed = parseReceipt(await readFile(file, 'utf8'))
    const publicKey =
      stringFlag(context, 'public-key') ??
      (await withOperator(context, (control) => control.publicKey()))
    if (!verifySigned(signed, publicKey)) {
      throw new UsageError('INPUT_INVALID', 'the signature is not valid for this receipt and key', {
        ...(signed.publicKey === publicKey ? {} : { hint: 'the receipt names a different key' }),
      })
    }
    const place = checkPlace(signed, publicKey)
    const logged = place === undefined ? '' : `\nin the control log: ${place}`
    context.output.result(`good signature${logged}\n${render(signed.statement)}`, {
      valid: true,
      ...(place === undefined ? {} : { inControlLog: place }),
      statement: signed.statement,
    })
  },
}

/**
 * Returns the position of the receipt in the control log; undefined if the receipt has no proof.
 * @throws UsageError if the proof is invalid, or proves a different entry
 */
function checkPlace({ proof, ...signed }: SignedReceipt, publicKey: string): string | undefined {
  if (proof === undefined) return undefined
  const checked = checkEvidence(proof, publicKey)
  if (typeof checked === 'string') throw new UsageError('INPUT_INVALID', checked)
  const { entry, certificate, index, checkpoint } = checked
  const { detail, detailSha256 } = JSON.parse(entry.toString('utf8')) as Record<string, Json>
  const text = toCanonicalJson(JSON.parse(JSON.stringify(signed)) as Json)
  const isSame =
    detail === undefined
      ? hash('sha256', text, 'hex') === detailSha256
      : toCanonicalJson(detail) === text
  if (!isSame || certificate.kind !== 'control log') {
    throw new UsageError('INPUT_INVALID', 'the proof does not belong to this receipt')
  }
  return `entry ${String(index)} of ${String(checkpoint.size)} in ${checkpoint.origin}`
}

/** @throws UsageError */
function parseReceipt(text: string): SignedReceipt {
  let value: Partial<SignedReceipt> | null
  try {
    value = JSON.parse(text) as Partial<SignedReceipt> | null
  } catch {
    throw new UsageError('INPUT_INVALID', 'the file is not JSON')
  }
  const { statement, publicKey, signature, proof } = value ?? {}
  if (
    typeof statement !== 'object' ||
    typeof publicKey !== 'string' ||
    typeof signature !== 'string' ||
    !(proof === undefined || typeof proof === 'string')
  )
    throw new UsageError('INPUT_INVALID', 'the file is not a receipt')
  return { statement, publicKey, signature, ...(proof === undefined ? {} : { proof }) }
}

function render(receipt: Receipt): string {
  return [
    `switch     ${receipt.id}: ${describeScope(receipt.scope)}, ${receipt.direction}`,
    `reason     ${receipt.reason} (${receipt.operator})`,
    `killed     ${toDate(receipt.killedAt)}`,
    `revoked    ${toDate(receipt.revokedAt)}, after ${String(receipt.timeToRevokeMs)} ms`,
    `last data  ${receipt.lastSuccessAt === null ? 'none reported by any instance' : toDate(receipt.lastSuccessAt)}`,
    `instances  ${String(receipt.instances.length)}, in flight ${String(receipt.inFlight)}`,
  ].join('\n')
}

function toDate(time: number): string {
  return new Date(time).toISOString()
}
