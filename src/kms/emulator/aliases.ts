/** KMS key aliases. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import { partitionOf } from '../../core/partitions.ts'
import { KmsException } from './proxy-failure.ts'

export interface Alias {
  /** Includes the prefix `alias/`. */
  readonly name: string
  /** The KMS key's UUID. */
  readonly keyId: string
  /** Milliseconds since the Unix epoch. */
  readonly createdAt: number
  readonly updatedAt: number
}

export interface Aliases {
  /** @param name includes `alias/` @throws KmsException AlreadyExistsException, InvalidAliasNameException */
  create(name: string, keyId: string): void
  /** @throws KmsException NotFoundException */
  update(name: string, keyId: string): void
  /** @throws KmsException NotFoundException */
  delete(name: string): void
  list(): readonly Alias[]
  /**
   * Returns the key's UUID for an alias name (`alias/…`) or alias ARN; undefined for any other
   * text.
   * @throws KmsException NotFoundException
   */
  resolve(nameOrArn: string): string | undefined
  arnOf(name: string): string
}

const NAME = /^alias\/[a-zA-Z0-9/_-]{1,250}$/

export function createAliases(deps: {
  readonly clock: Clock
  readonly region: string
  readonly accountId: string
  readonly initial: readonly Alias[]
}): Aliases {
  const aliases = new Map(deps.initial.map((one) => [one.name, one]))
  const prefix = `arn:${partitionOf(deps.region).id}:kms:${deps.region}:${deps.accountId}:`
  const arnOf = (name: string) => `${prefix}${name}`

  function get(name: string): Alias {
    const found = aliases.get(name)
    if (found !== undefined) return found
    throw new KmsException('NotFoundException', `Alias ${arnOf(name)} is not found.`)
  }

  return {
    create(name, keyId) {
      if (name.startsWith('alias/aws/') || !NAME.test(name)) {
        throw new KmsException('InvalidAliasNameException', `${name} is not a valid alias name`)
      }
      if (aliases.has(name)) {
        const message = `An alias with the name ${arnOf(name)} already exists`
        throw new KmsException('AlreadyExistsException', message)
      }
      const now = deps.clock.now()
      aliases.set(name, { name, keyId, createdAt: now, updatedAt: now })
    },
    update(name, keyId) {
      aliases.set(name, { ...get(name), keyId, updatedAt: deps.clock.now() })
    },
    delete(name) {
      aliases.delete(get(name).name)
    },
    list: () => [...aliases.values()],
    resolve(text) {
      const name = text.startsWith(`${prefix}alias/`) ? text.slice(prefix.length) : text
      return name.startsWith('alias/') ? get(name).keyId : undefined
    },
    arnOf,
  }
}
