/**
 * Opens the retirement service: on the control store of this host, or through an admin listener.
 */
// SPDX-License-Identifier: Apache-2.0
import { type KeyStoreName, parseKeyStoreName } from '../core/ids.ts'
import type { Retirements } from '../retirement/service.ts'
import { type Context, findKeyStore, UsageError } from '../terminal/command.ts'
import { findPlace, type Place, tellStore } from './operator.ts'

/**
 * Opens the retirement service of one key store, runs `work`, and closes the service even if `work`
 * throws.
 */
export async function withRetirements<T>(
  context: Context,
  work: (retirements: Retirements, keyStore: KeyStoreName) => Promise<T>,
): Promise<T> {
  const place = await findPlace(context, 'all')
  const found = findKeyStore<Place['keyStores'][number]>(context, place)
  const name = parseKeyStoreName(found.name)
  if (name === undefined)
    throw new UsageError('INPUT_INVALID', `invalid key store name: ${found.name}`)
  if (place.kind === 'listener') {
    const { createRemoteRetirements } = await import('../admin/client/retirements.ts')
    try {
      return await work(createRemoteRetirements(place.api), name)
    } finally {
      place.api.close()
    }
  }
  tellStore(context, place)
  const { withRetirement } = await import('../app/retirement.ts')
  const { createRetirements } = await import('../retirement/service.ts')
  return withRetirement(place.config, name, (deps) => work(createRetirements(deps), name))
}
