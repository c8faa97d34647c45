/** Opens the kill switch for a command: on the control store of this host, or through an admin listener. */
// SPDX-License-Identifier: Apache-2.0
import type { AdminAbout, AdminApi } from '../admin/client/api.ts'
import type { OpenOptions } from '../app/kill-switch.ts'
import type { Operator } from '../killswitch/operator/service.ts'
import type { Config } from '../config/config.ts'
import {
  type Context,
  UsageError,
  loadContextConfig,
  loadControlConfig,
  stringFlag,
} from '../terminal/command.ts'
import { StorageError } from '../store/database.ts'
import { type AdminTarget, findAdminTarget, findKnownTarget } from '../terminal/contexts.ts'

interface ListenerPlace {
  readonly kind: 'listener'
  readonly target: AdminTarget
  readonly keyStores: readonly Omit<AdminAbout['stores'][number], 'permissions'>[]
  readonly api: AdminApi
  readonly operator: Operator
}

/** The store or listener that a command works on. */
export type Place =
  | { readonly kind: 'store'; readonly config: Config; readonly keyStores: Config['keyStores'] }
  | ListenerPlace

/**
 * @param sections `all` requires a valid configuration; with `control`, errors outside the sections
 * for the control store are tolerated
 * @throws UsageError, ConfigError, AdminCallError, AdminRefusal
 */
export async function findPlace(
  context: Context,
  sections: 'all' | 'control' = 'control',
): Promise<Place> {
  const target = await findAdminTarget(context)
  if (target === undefined) {
    const config = await (sections === 'all' ? loadContextConfig : loadControlConfig)(context)
    return { kind: 'store', config, keyStores: config.keyStores }
  }
  if (stringFlag(context, 'operator') !== undefined) {
    throw new UsageError(
      'USAGE',
      '--operator applies only to the control store: an admin listener records the name in the token or certificate',
    )
  }
  return openListener(context, target)
}

export async function openListener(context: Context, target: AdminTarget): Promise<ListenerPlace> {
  const { createAdminHttp } = await import('../admin/client/http.ts')
  const { createAdminApi } = await import('../admin/client/api.ts')
  const { createRemoteOperator } = await import('../admin/client/operator.ts')
  const { findSwitches } = await import('../killswitch/operator/restore.ts')
  const api = createAdminApi(createAdminHttp(target))
  const { stores, name, role } = await api.get('/admin/v1/about')
  if (context.output.isTerminal) {
    context.output.note(`${target.url} (${target.source}), as ${name}, ${role}`)
  }
  const operator = createRemoteOperator(api, findSwitches)
  return { kind: 'listener', target, keyStores: stores, api, operator }
}

/**
 * Opens the kill switch for a kill. If the database has no free connection, the command uses the
 * admin listener that the user has named, because a listener always keeps a connection open. The
 * listener must use the same store.
 * @throws StorageError
 */
export async function openForKill(
  context: Context,
  place: Place,
  options: OpenOptions,
): Promise<Operator> {
  if (place.kind === 'listener') return place.operator
  const target = await findKnownTarget(context).catch(() => undefined)
  if (target === undefined) return openOperator(context, place, options)
  const { hasNoConnectionLeft } = await import('../store/postgres/errors.ts')
  try {
    return await openOperator(context, place, { ...options, endsEarly: hasNoConnectionLeft })
  } catch (error) {
    if (!(error instanceof StorageError) || !hasNoConnectionLeft(error)) throw error
  }
  const where = `the admin listener ${target.url} (${target.source})`
  const full = 'the database has no free connections (SQLSTATE 53300)'
  const other = await openListener(context, target).catch(() => undefined)
  const problem = other === undefined ? 'cannot be reached' : await findDifference(other, place)
  if (other !== undefined && problem === undefined) {
    context.output.note(`${full}; using ${where} instead`)
    return other.operator
  }
  await other?.operator.close()
  context.output.note(`${full}, and ${where} ${problem ?? ''}; still trying the database`)
  return openOperator(context, place, options)
}

/**
 * While the database has no free connection, the store cannot be asked for its id, but this host's
 * high-water mark records the id. On a host without a mark, only the names of the key stores are
 * compared.
 */
async function findDifference(other: ListenerPlace, place: Place): Promise<string | undefined> {
  if (namesOf(other) !== namesOf(place)) return 'has different key stores'
  if (place.kind === 'listener') return undefined
  const { readMarkedStore } = await import('../killswitch/instance/high-water.ts')
  const own = await readMarkedStore(place.config.control.highWaterFile)
  if (own === undefined) return undefined
  const its = await other.operator.status(0, { limit: 0 }).then(
    ({ storeId }) => storeId,
    () => undefined,
  )
  return its === own ? undefined : 'uses a different store'
}

const namesOf = ({ keyStores }: Place): string =>
  Array.from(keyStores, ({ name }) => name)
    .sort()
    .join(' ')

/** @throws StorageError */
export async function openOperator(
  context: Context,
  place: Place,
  options: OpenOptions = {},
): Promise<Operator> {
  if (place.kind === 'listener') return place.operator
  tellStore(context, place)
  const { openKillSwitch } = await import('../app/kill-switch.ts')
  return openKillSwitch(place.config, { onOldStore: context.output.note, ...options })
}

/** On a terminal, prints which store the command works on. */
export function tellStore({ output }: Context, place: Place): void {
  if (!output.isTerminal || place.kind === 'listener') return
  const { path, postgres } = place.config.store
  output.note(`using the control store ${path ?? postgres?.host.toString() ?? ''}`)
}

/** Opens the kill switch, runs `work`, and closes the kill switch even if `work` throws. */
export async function withOperator<T>(
  context: Context,
  work: (operator: Operator, place: Place) => Promise<T>,
  sections: 'all' | 'control' = 'control',
): Promise<T> {
  const place = await findPlace(context, sections)
  const operator = await openOperator(context, place)
  try {
    return await work(operator, place)
  } finally {
    await operator.close()
  }
}
