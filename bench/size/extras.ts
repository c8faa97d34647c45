/** Fills a control store with policies, labels and recorded usage, which the answers of the admin listener contain. */
// SPDX-License-Identifier: Apache-2.0
import { toStoreOptions } from '../../src/app/store.ts'
import type { Config } from '../../src/config/config.ts'
import { LABELS } from '../../src/policy/labels.ts'
import { POLICIES } from '../../src/store/sealed-tables.ts'
import { insertRow } from '../../src/store/sealed-transaction.ts'
import { openStore } from '../../src/store/store.ts'
import { type Count, MINUTE_MS } from '../../src/usage/recorder.ts'
import { writeCounts } from '../../src/usage/usage-table.ts'
import { keyIdOf, keyStoreOf, type Size } from './fill.ts'

export interface Extras {
  readonly policies: number
  /** Number of keys that the document `labels` names one by one. */
  readonly labels: number
  readonly principals: number
  /** Number of principals that used each key. */
  readonly callersPerKey: number
}

const COUNTS_PER_WRITE = 100

export async function fillExtras(config: Config, size: Size, extras: Extras): Promise<void> {
  const store = await openStore(await toStoreOptions(config))
  const at = Date.now()
  const nameOf = (i: number) => config.keyStores[keyStoreOf(i, size)]?.name ?? ''
  try {
    const labels = Array.from(
      { length: extras.labels },
      (_, i) => `${nameOf(i)}/${keyIdOf(i)}: { groups: [group-${String(i % 10)}] }\n`,
    )
    const documents = [
      ...Array.from({ length: extras.policies }, (_, i) => [
        `policy-${String(i)}`,
        `@id("policy-${String(i)}") permit (principal, action, resource) when { resource.keyStore == "demo" };`,
      ]),
      [LABELS, labels.join('') || '{}'],
    ]
    await store.change(async (transaction) => {
      for (const [i, [name = '', document = '']] of documents.entries()) {
        await insertRow(transaction, store.sealing, POLICIES, {
          ...{ revision: i + 1, name, mode: 'enforce', document },
          ...{ action: 'put', reason: 'benchmark', operator: 'benchmark', created_at: at },
        })
      }
    })
    for (const counts of chunksOf(toCounts(size, extras, nameOf, at))) {
      await writeCounts(store.database, counts)
    }
  } finally {
    await store.close()
  }
}

function toCounts(
  { keys }: Size,
  { principals, callersPerKey }: Extras,
  nameOf: (i: number) => string,
  at: number,
): readonly Count[] {
  return Array.from({ length: keys * callersPerKey }, (_, n) => {
    const i = n % keys
    const principal = (i * 7 + Math.floor(n / keys)) % principals
    return {
      subject: {
        ...{ keyStore: nameOf(i), keyId: keyIdOf(i), operation: 'Decrypt', outcome: 'ok' },
        kmsOperation: 'Decrypt',
        principal: `arn:aws:iam::111122223333:role/application-${String(principal)}`,
        kmsKeyArn: `arn:aws:kms:eu-central-1:111122223333:key/${keyIdOf(i)}`,
        isOverflow: false,
      },
      ...{ minute: Math.floor(at / MINUTE_MS) * MINUTE_MS, requests: 1 + (n % 9) },
      ...{ firstAt: at, lastAt: at },
    }
  })
}

function* chunksOf(counts: readonly Count[]): Generator<readonly Count[]> {
  for (let at = 0; at < counts.length; at += COUNTS_PER_WRITE) {
    yield counts.slice(at, at + COUNTS_PER_WRITE)
  }
}
