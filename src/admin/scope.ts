/** The scope of a switch, from the form that openapi.yaml gives it to the one that control/ has. */
// SPDX-License-Identifier: Apache-2.0
import type { Criteria, Scope } from '../core/scope.ts'
import type { components } from '../openapi/types.gen.ts'
import { AdminError } from './errors.ts'

type RawScope = components['schemas']['SwitchScope']

/** @param knownKeyStores a kill of a key store that does not exist would be a dangerous typo @throws AdminError */
export function toScope(raw: RawScope, knownKeyStores: readonly string[]): Scope {
  const { kind, keyStore, keyId, criteria } = raw
  if (keyStore !== undefined && !knownKeyStores.includes(keyStore)) {
    throw new AdminError('INPUT_INVALID', `there is no key store ${keyStore}`)
  }
  checkFields(raw)
  if (kind === 'all') return { kind }
  if (kind === 'match' && criteria !== undefined) {
    const { account, principal, viaService, vpc } = criteria
    const given: Criteria = {
      ...(account === undefined ? {} : { account }),
      ...(principal === undefined ? {} : { principal }),
      ...(viaService === undefined ? {} : { viaService }),
      ...(vpc === undefined ? {} : { vpc }),
    }
    return { kind, ...(keyStore === undefined ? {} : { keyStore }), criteria: given }
  }
  if (kind === 'key-store' && keyStore !== undefined) return { kind, keyStore }
  if (kind === 'key' && keyStore !== undefined && keyId !== undefined) {
    return { kind, keyStore, keyId }
  }
  throw new AdminError('INPUT_INVALID', `a scope of this kind needs ${NEEDS[kind].join(' and ')}`)
}

const NEEDS: Readonly<Record<RawScope['kind'], readonly string[]>> = {
  all: [],
  'key-store': ['keyStore'],
  key: ['keyStore', 'keyId'],
  match: ['criteria'],
}

const ALLOWS: Readonly<Record<RawScope['kind'], readonly string[]>> = {
  ...NEEDS,
  match: ['criteria', 'keyStore'],
}

/** A field that the kind has no use for says that something else was meant. */
function checkFields(raw: RawScope): void {
  const extra = (['keyStore', 'keyId', 'criteria'] as const).find(
    (name) => raw[name] !== undefined && !ALLOWS[raw.kind].includes(name),
  )
  if (extra !== undefined) {
    throw new AdminError('INPUT_INVALID', `a scope of the kind ${raw.kind} has no ${extra}`)
  }
}
