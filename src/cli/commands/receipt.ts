/** `latchkey receipt list | show | verify | key` */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import { describeScope } from '../../core/scope.ts'
import type { Receipt } from '../../killswitch/receipt/receipt.ts'
import { type Signed, verifySigned } from '../../core/signature.ts'
import { CONFIG_FLAG, type Command, UsageError, stringFlag } from '../../terminal/command.ts'
import { CONTEXT_FLAG } from '../../terminal/contexts.ts'
import { toTable } from '../../terminal/output.ts'
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
      toTable(['RECEIPT', 'REVOKED', 'AFTER', 'SCOPE', 'OPERATOR'], rows),
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
      description: 'Public key as printed by receipt key (default: the key of the control store).',
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
      throw new UsageError('INPUT_INVALID', 'the signature does not match this receipt and key', {
        ...(signed.publicKey === publicKey ? {} : { hint: 'the receipt names another key' }),
      })
    }
    context.output.result(`good signature\n${render(signed.statement)}`, {
      valid: true,
      statement: signed.statement,
    })
  },
}

/** @throws UsageError */
function parseReceipt(text: string): Signed<Receipt> {
  let value: Partial<Signed<Receipt>> | null
  try {
    value = JSON.parse(text) as Partial<Signed<Receipt>> | null
  } catch {
    throw new UsageError('INPUT_INVALID', 'the file is not JSON')
  }
  const { statement, publicKey, signature } = value ?? {}
  if (
    typeof statement !== 'object' ||
    typeof publicKey !== 'string' ||
    typeof signature !== 'string'
  )
    throw new UsageError('INPUT_INVALID', 'the file is not a receipt')
  return { statement, publicKey, signature }
}

function render(receipt: Receipt): string {
  return [
    `switch     ${receipt.id}: ${describeScope(receipt.scope)}, ${receipt.direction}`,
    `reason     ${receipt.reason} (${receipt.operator})`,
    `killed     ${toDate(receipt.killedAt)}`,
    `revoked    ${toDate(receipt.revokedAt)}, after ${String(receipt.timeToRevokeMs)} ms`,
    `last data  ${receipt.lastSuccessAt === null ? 'none reported by an instance' : toDate(receipt.lastSuccessAt)}`,
    `instances  ${String(receipt.instances.length)}, in flight ${String(receipt.inFlight)}`,
  ].join('\n')
}

function toDate(time: number): string {
  return new Date(time).toISOString()
}
