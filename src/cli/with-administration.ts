/**
 * Opens the administration of keys, credentials and policies: on the control store of this host, or
 * through an admin listener.
 */
// SPDX-License-Identifier: Apache-2.0
import type {
  KeyStoreAdministration,
  OperatorAdministration,
  PolicyAdministration,
} from '../admin/administration.ts'
import { type KeyStoreName, parseKeyStoreName } from '../core/ids.ts'
import { UsageError, findKeyStore, type Context } from '../terminal/command.ts'
import { parseOperator } from '../terminal/flags/scope.ts'
import { type Place, findPlace, tellStore } from './operator.ts'

type KeyStore = Place['keyStores'][number]

/**
 * Opens the administration of keys and credentials, runs `work`, and closes the administration even
 * if `work` throws.
 */
export async function withDesk<T>(
  context: Context,
  work: (administration: KeyStoreAdministration, place: Place) => Promise<T>,
): Promise<T> {
  const place = await findPlace(context, 'all')
  const administration = await openDesk(context, place)
  try {
    return await work(administration, place)
  } finally {
    await administration.close()
  }
}

async function openDesk(context: Context, place: Place): Promise<KeyStoreAdministration> {
  if (place.kind === 'listener') {
    const { createRemoteAdministration } = await import('../admin/client/administration.ts')
    return createRemoteAdministration(place.api)
  }
  tellStore(context, place)
  const { openAdministration } = await import('../app/administration.ts')
  return openAdministration(place.config, parseOperator(context))
}

/**
 * Works like `withDesk`, for the key store that --key-store names, or for the only key store if the
 * flag is absent.
 */
export async function withAdministration<T>(
  context: Context,
  work: (
    administration: KeyStoreAdministration,
    keyStore: KeyStoreName,
    found: KeyStore,
  ) => Promise<T>,
): Promise<T> {
  const place = await findPlace(context, 'all')
  const found = findKeyStore<KeyStore>(context, place)
  const name = parseKeyStoreName(found.name)
  if (name === undefined)
    throw new UsageError('INPUT_INVALID', `invalid key store name: ${found.name}`)
  const administration = await openDesk(context, place)
  try {
    return await work(administration, name, found)
  } finally {
    await administration.close()
  }
}

/**
 * Opens the administration of policies, runs `work`, and closes the administration even if `work`
 * throws.
 */
export async function withPolicies<T>(
  context: Context,
  work: (policies: PolicyAdministration) => Promise<T>,
): Promise<T> {
  const place = await findPlace(context)
  const policies = await openDeskOfPolicies(context, place)
  try {
    return await work(policies)
  } finally {
    await policies.close()
  }
}

async function openDeskOfPolicies(context: Context, place: Place): Promise<PolicyAdministration> {
  if (place.kind === 'listener') {
    const { createRemotePolicies } = await import('../admin/client/policies.ts')
    return createRemotePolicies(place.api)
  }
  tellStore(context, place)
  const { openPolicies } = await import('../app/policy.ts')
  return openPolicies(place.config)
}

/**
 * Opens the administration of operators and tokens, runs `work`, and closes the administration even
 * if `work` throws.
 */
export async function withOperators<T>(
  context: Context,
  work: (operators: OperatorAdministration) => Promise<T>,
): Promise<T> {
  const place = await findPlace(context)
  const operators = await openDeskOfOperators(context, place)
  try {
    return await work(operators)
  } finally {
    await operators.close()
  }
}

async function openDeskOfOperators(
  context: Context,
  place: Place,
): Promise<OperatorAdministration> {
  if (place.kind === 'listener') {
    const { createRemoteOperators } = await import('../admin/client/operators.ts')
    return createRemoteOperators(place.api)
  }
  tellStore(context, place)
  const { openOperators } = await import('../app/administration.ts')
  return openOperators(place.config)
}
