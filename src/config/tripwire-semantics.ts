/** Checks what a schema cannot express about the rules of the tripwire. */
// SPDX-License-Identifier: Apache-2.0
import type { RawConfig } from './schema.ts'

/** @param known names of the key stores; undefined if the section that defines them has errors */
export function checkTripwire(
  { tripwire }: Pick<RawConfig, 'tripwire'>,
  known: readonly string[] | undefined,
  fault: (path: string, message: string) => void,
): void {
  tripwire.rules.forEach(({ name, keyStore, key, per, measure, limit }, i) => {
    const path = `tripwire.rules[${String(i)}]`
    const first = tripwire.rules.findIndex((one) => one.name === name)
    if (first < i) fault(`${path}.name`, `is already used by tripwire.rules[${String(first)}]`)
    if (keyStore !== undefined && known?.includes(keyStore) === false) {
      fault(`${path}.keyStore`, `expected one of ${known.join(', ')}, found ${keyStore}`)
    }
    if (key !== undefined && keyStore === undefined) fault(`${path}.key`, 'requires keyStore')
    if (measure === 'newPrincipals' && per === 'principal') {
      fault(`${path}.per`, 'expected key or key-store with newPrincipals')
    }
    if (measure === 'denialPercent' && limit > 100) {
      fault(`${path}.limit`, `expected at most 100 percent, found ${String(limit)}`)
    }
  })
}
