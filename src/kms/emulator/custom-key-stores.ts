/**
 * All custom key stores of an account, with their checks, their connection states, and the
 * conflicts between them.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import type { Clock } from '../../core/clock.ts'
import { getHealthStatusBody } from '../client/requests.ts'
import {
  type CustomKeyStore,
  type KeyStoreChange,
  type NewCustomKeyStore,
  type ProxyConfiguration,
  checkParameters,
  checkUnique,
  findVpcFault,
} from './custom-key-store.ts'
import type { ProxyConnection } from './proxy-connection.ts'
import {
  KmsException,
  ProxyFailure,
  toConnectionErrorCode,
  toKmsException,
} from './proxy-failure.ts'

export interface CustomKeyStoresDeps {
  readonly clock: Clock
  readonly connect: (proxy: ProxyConfiguration) => ProxyConnection
  /** Resolves after the time that ConnectCustomKeyStore should take. In KMS it takes minutes. */
  readonly connectDelay: () => Promise<void>
  /** Private DNS name of each existing VPC endpoint service, by service name. */
  readonly vpcEndpointServices: ReadonlyMap<string, string>
  readonly hasKeys: (id: string) => boolean
  readonly requestId: () => string
  readonly initial: readonly CustomKeyStore[]
}

export interface CustomKeyStores {
  create(input: NewCustomKeyStore): Promise<CustomKeyStore>
  /** Finds stores by id or name; returns all when neither is given. @throws KmsException CustomKeyStoreNotFoundException */
  describe(which?: { readonly id?: string; readonly name?: string }): readonly CustomKeyStore[]
  get(id: string): CustomKeyStore
  /** Starts connecting and returns at once; `settled` waits for the outcome. */
  connect(id: string): void
  disconnect(id: string): void
  update(id: string, change: KeyStoreChange): Promise<void>
  delete(id: string): Promise<void>
  settled(id: string): Promise<CustomKeyStore>
  /**
   * Returns the proxy connection of a connected store.
   * @throws KmsException KMSInvalidStateException
   */
  connection(id: string): ProxyConnection
  /**
   * Calls GetHealthStatus once, as KMS does every few minutes.
   * @throws ProxyFailure
   */
  pollHealth(id: string): Promise<void>
  close(): Promise<void>
}

interface Entry {
  store: CustomKeyStore
  connection: ProxyConnection
  pending: Promise<void>
}

const MAX_STORES = 10
const CHANGED_WHILE_CONNECTED = new Set(['accessKeyId', 'rawSecretAccessKey', 'uriPath'])

export function createCustomKeyStores(deps: CustomKeyStoresDeps): CustomKeyStores {
  const entries = new Map<string, Entry>(deps.initial.map((store) => [store.id, toEntry(store)]))
  const stores = () => [...entries.values()].map(({ store }) => store)

  function toEntry({ state, ...store }: CustomKeyStore): Entry {
    return {
      // A store that was connecting when the process exited is disconnected.
      store: { ...store, state: state === 'CONNECTING' ? 'DISCONNECTED' : state },
      connection: deps.connect(store.proxy),
      pending: Promise.resolve(),
    }
  }

  function find(id: string): Entry {
    const entry = entries.get(id)
    if (entry === undefined) {
      throw new KmsException('CustomKeyStoreNotFoundException', `there is no key store ${id}`)
    }
    return entry
  }

  const set = (entry: Entry, change: Partial<CustomKeyStore>) => {
    const { id, name, createdAt, proxy, state } = entry.store
    entry.store = { id, name, createdAt, proxy, state, ...change }
  }

  async function probe(proxy: ProxyConfiguration, kmsOperation: string): Promise<ProxyConnection> {
    const connection = deps.connect(proxy)
    try {
      await checkHealth(connection, kmsOperation, deps.requestId())
      return connection
    } catch (error) {
      await connection.close()
      throw error
    }
  }

  async function finishConnecting(entry: Entry): Promise<void> {
    await deps.connectDelay()
    let outcome: Partial<CustomKeyStore> = { state: 'CONNECTED' }
    try {
      const code = findVpcFault(entry.store.proxy, deps.vpcEndpointServices)
      if (code === undefined)
        await checkHealth(entry.connection, 'ConnectCustomKeyStore', deps.requestId())
      else outcome = { state: 'FAILED', errorCode: code }
    } catch (error) {
      if (!(error instanceof ProxyFailure)) throw error
      outcome = { state: 'FAILED', errorCode: toConnectionErrorCode(error) }
    }
    if (entry.store.state === 'CONNECTING') set(entry, outcome)
  }

  return {
    async create({ name, proxy }) {
      checkParameters(name, proxy)
      if (entries.size >= MAX_STORES) {
        throw new KmsException(
          'LimitExceededException',
          `cannot create more than ${String(MAX_STORES)} custom key stores`,
        )
      }
      checkUnique({ name, proxy }, stores())
      const connection =
        proxy.connectivity === 'PUBLIC_ENDPOINT'
          ? await asKmsException(() => probe(proxy, 'CreateCustomKeyStore'))
          : deps.connect(proxy)
      const id = `cks-${randomBytes(9).toString('hex').slice(0, 17)}`
      const store = { id, name, createdAt: deps.clock.now(), proxy, state: 'DISCONNECTED' } as const
      entries.set(id, { store, connection, pending: Promise.resolve() })
      return store
    },
    describe({ id, name } = {}) {
      const found = stores().filter(
        (store) =>
          (id === undefined || store.id === id) && (name === undefined || store.name === name),
      )
      if (found.length === 0 && (id !== undefined || name !== undefined)) {
        throw new KmsException(
          'CustomKeyStoreNotFoundException',
          'no key store has this id or name',
        )
      }
      return found
    },
    get: (id) => find(id).store,
    connect(id) {
      const entry = find(id)
      if (entry.store.state === 'FAILED' || entry.store.state === 'DISCONNECTING') {
        throw wrongState(`the key store is ${entry.store.state}: disconnect it first`)
      }
      if (entry.store.state !== 'DISCONNECTED') return
      set(entry, { state: 'CONNECTING' })
      entry.pending = finishConnecting(entry)
    },
    disconnect(id) {
      const entry = find(id)
      if (entry.store.state === 'DISCONNECTED' || entry.store.state === 'DISCONNECTING') {
        throw wrongState(`the key store is already ${entry.store.state}`)
      }
      set(entry, { state: 'DISCONNECTED' })
    },
    async update(id, { name, ...change }) {
      const entry = find(id)
      const { state } = entry.store
      // Name, credential and path may change while the store is connected (KMS API reference,
      // UpdateCustomKeyStore).
      const isLight = Object.keys(change).every((field) => CHANGED_WHILE_CONNECTED.has(field))
      if (state !== 'DISCONNECTED' && !(state === 'CONNECTED' && isLight)) {
        throw wrongState(
          `the key store is ${state}: this setting can be changed only while it is DISCONNECTED`,
        )
      }
      const proxy = { ...entry.store.proxy, ...change }
      const next = { name: name ?? entry.store.name, proxy }
      checkParameters(next.name, proxy)
      checkUnique(
        next,
        stores().filter((other) => other.id !== id),
      )
      if (Object.keys(change).length > 0) {
        const old = entry.connection
        entry.connection =
          proxy.connectivity === 'PUBLIC_ENDPOINT' || state === 'CONNECTED'
            ? await asKmsException(() => probe(proxy, 'UpdateCustomKeyStore'))
            : deps.connect(proxy)
        await old.close()
      }
      set(entry, next)
    },
    async delete(id) {
      const entry = find(id)
      if (entry.store.state !== 'DISCONNECTED')
        throw wrongState(`the key store is ${entry.store.state}: disconnect it first`)
      if (deps.hasKeys(id)) {
        throw new KmsException('CustomKeyStoreHasCMKsException', 'the key store still has KMS keys')
      }
      entries.delete(id)
      await entry.connection.close()
    },
    async settled(id) {
      await find(id).pending
      return find(id).store
    },
    connection(id) {
      const { store, connection } = find(id)
      if (store.state !== 'CONNECTED') {
        throw new KmsException(
          'KMSInvalidStateException',
          'this KMS key is in a custom key store that is not connected to its external key store proxy',
        )
      }
      return connection
    },
    pollHealth: (id) => checkHealth(find(id).connection, 'KmsHealthCheck', deps.requestId()),
    async close() {
      for (const { connection, pending } of entries.values()) {
        await pending
        await connection.close()
      }
      entries.clear()
    },
  }
}

function wrongState(message: string): KmsException {
  return new KmsException('CustomKeyStoreInvalidStateException', message)
}

async function asKmsException<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw toKmsException(error, 'key store')
  }
}

const HEALTH = new Set<unknown>(['ACTIVE', 'DEGRADED', 'UNAVAILABLE'])

/** @param kmsOperation KMS operation for which the health check runs @throws ProxyFailure */
async function checkHealth(
  connection: ProxyConnection,
  kmsOperation: string,
  requestId: string,
): Promise<void> {
  const body = getHealthStatusBody(kmsOperation, requestId)
  const answer = (await connection.call('/health', body)) as Record<string, unknown>
  const details = answer['ekmFleetDetails']
  const size = answer['xksProxyFleetSize']
  // A valid response names one to ten key managers and a fleet size of at least one (XKS 1.0.3,
  // GetHealthStatus).
  if (!Array.isArray(details) || details.length < 1 || details.length > 10) malformed()
  const states = details.map(
    (one: unknown) => (one as Record<string, unknown> | null)?.['healthStatus'],
  )
  if (!states.every((state) => HEALTH.has(state))) malformed()
  if (!Number.isInteger(size) || Number(size) < 1) malformed()
  for (const field of ['xksProxyVendor', 'xksProxyModel', 'ekmVendor']) {
    if (typeof answer[field] !== 'string') malformed()
  }
  if (states.every((state) => state === 'UNAVAILABLE')) {
    throw new ProxyFailure('ALL_UNAVAILABLE', 'all external key managers are unavailable')
  }
}

function malformed(): never {
  throw new ProxyFailure(
    'MALFORMED',
    'the health status lacks valid values for the fields that the specification requires',
  )
}
