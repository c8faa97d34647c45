/** Provides policies from the store or a folder, for servers and for commands. */
// SPDX-License-Identifier: Apache-2.0
import type { PolicyAdministration } from '../admin/administration.ts'
import type { Config } from '../config/config.ts'
import type { Cleanup } from '../core/cleanup.ts'
import { systemClock as clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import type { EpochFollower } from '../killswitch/instance/change-reader.ts'
import { ControlError } from '../killswitch/model.ts'
import { loadInstances } from '../killswitch/instance/instances.ts'
import { defaultPatienceMs } from '../killswitch/operator/stop.ts'
import { waitForRevocation } from '../killswitch/operator/wait.ts'
import {
  type Authorizer,
  type PolicyState,
  createAuthorizer,
  preparePolicies,
} from '../policy/authorizer.ts'
import { PolicyError } from '../policy/cedar.ts'
import { followPolicyFolder, loadPolicyFolder } from '../policy/policy-files.ts'
import {
  loadPoliciesAt,
  loadPolicyHistory,
  loadPolicyState,
  POLICY_ENTRIES,
  planChange,
  writeChange,
} from '../policy/policy-table.ts'
import { type Store, openStore } from '../store/store.ts'
import { loadActivity, toPeriod } from '../usage/usage-table.ts'
import { toStoreOptions } from './store.ts'

export interface ServerPolicies {
  readonly authorizer: Authorizer
  /** Undefined if policies come from a folder. */
  readonly follower: EpochFollower | undefined
}

/** @throws PolicyError POLICY_INVALID or a system error if the folder cannot be used */
export async function createServerPolicies(
  { policy: { folder } }: Config,
  store: Pick<Store, 'sealing'>,
  logger: Logger,
  cleanup: Cleanup,
): Promise<ServerPolicies> {
  const authorizer = createAuthorizer()
  if (folder === undefined) {
    return { authorizer, follower: createPolicyFollower(authorizer, store, logger) }
  }
  const following = await followPolicyFolder({
    folder,
    apply: async (state) => {
      authorizer.apply(await preparePolicies(state))
    },
    onApplied: (state) => {
      logger.info('policies loaded', describePolicies(state))
    },
    onFailed: (err) => {
      logger.error('policies rejected; keeping the previous ones', { folder, err })
    },
  })
  cleanup.add(following.stop)
  return { authorizer, follower: undefined }
}

/** Applies the store's policies at each new epoch. */
export function createPolicyFollower(
  authorizer: Authorizer,
  { sealing }: Pick<Store, 'sealing'>,
  logger: Logger,
): EpochFollower {
  let current: string | undefined
  return {
    expected: [POLICY_ENTRIES],
    async read(reader) {
      const state = await loadPolicyState(reader, sealing)
      return async () => {
        const next = JSON.stringify([state.revision, ...state.enforced, ...(state.shadow ?? [])])
        if (next === current) return () => undefined
        const prepared = await preparePolicies(state).catch((err: unknown) => {
          logger.error("cannot use the store's policies; denying every request for a key", { err })
          return { state, sets: undefined }
        })
        return () => {
          authorizer.apply(prepared)
          current = next
          if (state.revision > 0) logger.info('policies loaded', describePolicies(state))
        }
      }
    },
  }
}

function describePolicies({ revision, enforced, shadow }: PolicyState) {
  return {
    ...(revision === 0 ? {} : { revision }),
    documents: [...enforced.keys()],
    ...(shadow === undefined ? {} : { shadow: [...shadow.keys()] }),
  }
}

/** @throws StorageError */
export async function openPolicies(config: Config): Promise<PolicyAdministration> {
  const store = await openStore(await toStoreOptions(config, { connections: 'one' }))
  return { ...createPolicies(config, store), close: () => store.close() }
}

/** Uses a store that is already open. `close` does not close the store. */
export function createPolicies(config: Config, store: Store): PolicyAdministration {
  const { folder } = config.policy
  const checkInStore = () => {
    if (folder === undefined) return
    throw new PolicyError('POLICY_IN_FILES', `policies come from the files in ${folder}`, {
      hint: 'change the files; servers load them within five seconds',
    })
  }
  return {
    state: () =>
      folder === undefined
        ? store.database.snapshot((reader) => loadPolicyState(reader, store.sealing))
        : loadPolicyFolder(folder),
    async plan(change) {
      checkInStore()
      return planChange(store, change)
    },
    async apply(plan, by, { wait, patienceMs, onWritten }) {
      const startedAt = clock.monotonic()
      const { epoch, tag, noted } = await writeChange(store, clock, plan, {
        ...by,
        note: (transaction) => loadInstances(transaction, store.sealing, transaction.ledger),
      })
      onWritten?.(epoch)
      if (!wait) return { epoch }
      const written = { epoch, tag, registered: noted, startedAt, committedAt: clock.monotonic() }
      const { leaseMs } = config.control
      const endsAt = clock.monotonic() + (patienceMs ?? defaultPatienceMs(leaseMs))
      try {
        const revocation = await waitForRevocation({ store, clock, leaseMs }, written, endsAt)
        return { epoch, revocation }
      } catch (cause) {
        if (!(cause instanceof ControlError)) throw cause
        throw new PolicyError(
          'POLICY_NOT_EVERYWHERE',
          'the policies were stored, but not every instance acknowledged them in time',
          { cause, hint: 'run latchkey status to see what each instance has acknowledged' },
        )
      }
    },
    async history() {
      checkInStore()
      return loadPolicyHistory(store)
    },
    async at(revision) {
      checkInStore()
      return loadPoliciesAt(store, revision)
    },
    async usage(since) {
      const until = clock.now()
      const period = toPeriod({ since, until }, until)
      return {
        period,
        // Policies concern applications, so requests from Latchkey's own tools are omitted.
        usage: (await store.database.snapshot((reader) => loadActivity(reader, period))).filter(
          ({ subject }) => subject.isProbe !== true,
        ),
      }
    },
    close: () => Promise.resolve(),
  }
}
