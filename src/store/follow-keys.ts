/** A database whose snapshots and transactions survive a replacement of the store key. */
// SPDX-License-Identifier: Apache-2.0
import { type Database, isTampered, StorageError } from './database.ts'
import { KeyChange, type Keyring } from './keyring.ts'

/**
 * Maximum number of attempts. Work is repeated only if the store's keys changed in the meantime.
 */
const MAX_ATTEMPTS = 5

/**
 * Repeats work that failed because the store's keys were replaced, once the keyring has loaded the
 * new ones. Keys are unwrapped between two attempts, while no transaction is open.
 */
export function followKeys(database: Database, keyring: Keyring): Database {
  async function repeat<T>(run: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await run()
      } catch (error) {
        if (!(error instanceof KeyChange) || attempt === MAX_ATTEMPTS) throw error
        await keyring.load(error)
      }
    }
  }

  const snapshotOnce: Database['snapshot'] = (work, expected) =>
    repeat(() =>
      database.snapshot((reader) => {
        keyring.begin(reader)
        return work(reader)
      }, expected),
    )

  return {
    async snapshot(work, expected) {
      for (let attempt = 1; ; attempt += 1) {
        let began = keyring.generation
        try {
          return await snapshotOnce((reader) => {
            began = keyring.generation
            return work(reader)
          }, expected)
        } catch (error) {
          if (!isTampered(error)) throw error
          if (!(await hasNewKeys(error, began, snapshotOnce, keyring))) throw error
          if (attempt === MAX_ATTEMPTS) throw new KeyChange()
        }
      }
    },
    transaction: (work) =>
      repeat(() =>
        database.transaction((transaction) => {
          keyring.begin(transaction)
          return work(transaction)
        }),
      ),
    nowSql: database.nowSql,
    epoch: () => database.epoch(),
    heartbeat: (sql, parameters) => database.heartbeat(sql, parameters),
    write: (sql, parameters) => database.write(sql, parameters),
    read: (sql, parameters) => database.read(sql, parameters),
    warnings: (processes) => database.warnings(processes),
    checkSchema: (reader) => database.checkSchema(reader),
    erase: () => database.erase(),
    close: () => database.close(),
  }
}

/**
 * Decides whether to repeat a failed verification. The failure proves nothing if the keys have
 * changed since the verification began, or if the store has keys that this process has not loaded
 * yet.
 * @param began the keyring's generation when the verification began
 * @returns whether to verify again
 * @throws `error` if the key records do not verify either; otherwise the error that prevented
 * reading them (for example, because the master key is unusable), which is no evidence of tampering
 */
export async function hasNewKeys(
  error: unknown,
  began: number,
  snapshot: Database['snapshot'],
  keyring: Keyring,
): Promise<boolean> {
  if (keyring.generation !== began) return true
  try {
    await snapshot((reader) => keyring.refresh(reader))
  } catch (failed) {
    const isDamage =
      failed instanceof StorageError && ['STORE_TAMPERED', 'STORE_CORRUPT'].includes(failed.code)
    if (!isDamage) throw failed
    if (keyring.generation === began) throw error
  }
  // Another reader may have loaded the new keys first.
  return keyring.generation !== began
}
