/**
 * Stores and returns KMS keys' tags, key policies and grants without enforcing them. Applications
 * and Terraform expect to read them back.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import type { Clock } from '../../core/clock.ts'
import { KmsException } from './proxy-failure.ts'

export interface Tag {
  readonly TagKey: string
  readonly TagValue: string
}

export interface Grant {
  readonly id: string
  readonly token: string
  readonly keyId: string
  readonly createdAt: number
  /** Fields of CreateGrant, as they were given. */
  readonly request: Readonly<Record<string, unknown>>
}

/** Keyed by the KMS key's UUID. */
export interface KeyAttachments {
  readonly tags: readonly (readonly [string, readonly Tag[]])[]
  readonly policies: readonly (readonly [string, string])[]
  readonly grants: readonly Grant[]
}

export interface Attachments {
  tagsOf(keyId: string): readonly Tag[]
  /**
   * Adds tags, and replaces the values of tags that already exist. @throws KmsException
   * TagException
   */
  tag(keyId: string, tags: readonly Tag[]): void
  untag(keyId: string, names: readonly string[]): void
  policyOf(keyId: string): string | undefined
  /** @throws KmsException MalformedPolicyDocumentException */
  setPolicy(keyId: string, policy: string): void
  grant(keyId: string, request: Grant['request']): Grant
  grantsOf(keyId: string): readonly Grant[]
  /** Finds a grant by its id or its token. @throws KmsException NotFoundException */
  revoke(keyId: string | undefined, idOrToken: string): void
  all(): KeyAttachments
}

const MAX_TAGS = 50

export function createAttachments(clock: Clock, initial: KeyAttachments): Attachments {
  const tags = new Map(initial.tags)
  const policies = new Map(initial.policies)
  let grants = [...initial.grants]
  const tagsOf = (keyId: string) => tags.get(keyId) ?? []
  return {
    tagsOf,
    tag(keyId, more) {
      const names = new Set(more.map(({ TagKey }) => TagKey))
      const all = [...tagsOf(keyId).filter(({ TagKey }) => !names.has(TagKey)), ...more]
      if (names.size !== more.length || [...names].some((name) => name.startsWith('aws:'))) {
        throw new KmsException(
          'TagException',
          'Duplicate tag keys, or a tag key that begins with aws:',
        )
      }
      if (all.length > MAX_TAGS) throw new KmsException('TagException', 'Too many tags')
      tags.set(keyId, all)
    },
    untag(keyId, names) {
      tags.set(
        keyId,
        tagsOf(keyId).filter(({ TagKey }) => !names.includes(TagKey)),
      )
    },
    policyOf: (keyId) => policies.get(keyId),
    setPolicy(keyId, policy) {
      try {
        JSON.parse(policy)
      } catch (cause) {
        const message = 'The policy is not valid JSON'
        throw new KmsException('MalformedPolicyDocumentException', message, { cause })
      }
      policies.set(keyId, policy)
    },
    grant(keyId, request) {
      const [id, token] = [randomBytes(32).toString('hex'), randomBytes(64).toString('base64url')]
      const made = { id, token, keyId, createdAt: clock.now(), request }
      grants.push(made)
      return made
    },
    grantsOf: (keyId) => grants.filter((one) => one.keyId === keyId),
    revoke(keyId, idOrToken) {
      const found = grants.find(
        (one) =>
          (keyId === undefined || one.keyId === keyId) &&
          (one.id === idOrToken || one.token === idOrToken),
      )
      if (found === undefined) {
        throw new KmsException('NotFoundException', `Grant ID ${idOrToken} not found`)
      }
      grants = grants.filter((one) => one !== found)
    },
    all: () => ({ tags: [...tags], policies: [...policies], grants }),
  }
}
