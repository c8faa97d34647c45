/** Implements `latchkey keys shred`. */
// SPDX-License-Identifier: Apache-2.0
import { findCertificate } from '../../retirement/certificate.ts'
import { shredVersion } from '../../retirement/destruction.ts'
import { createRetirements } from '../../retirement/service.ts'
import {
  ADD_YES,
  type Command,
  type Context,
  KEY_STORE_FLAG,
  UsageError,
  YES_FLAG,
  findKeyStore,
  loadContextConfig,
} from '../../terminal/command.ts'
import { findAdminTarget, PLACE_FLAGS } from '../../terminal/contexts.ts'
import { REASON_FLAGS, parseActor } from '../../terminal/flags/scope.ts'
import { describePending, findRetirement, nameOf } from './keys-retire.ts'

const { operator } = REASON_FLAGS

/**
 * Refuses to work on this host's store if a listener is selected, because the retirement that the
 * person approved is in the store of that listener.
 * @throws UsageError
 */
async function loadHere(context: Context) {
  const target = await findAdminTarget(context)
  if (target === undefined) return loadContextConfig(context)
  throw new UsageError(
    'USAGE',
    `keys shred does not work through ${target.url} (${target.source})`,
    {
      hint: 'run it with --config on a host that has access to the control store',
    },
  )
}

export const keysShred: Command = {
  operands: ['KEY_ID', 'VERSION'],
  flags: { operator, ...YES_FLAG, ...KEY_STORE_FLAG, ...PLACE_FLAGS },
  examples: [
    'latchkey keys shred payroll-2026 1',
    'latchkey keys shred payroll-2026 1 --yes > destruction.json',
  ],
  async run(context) {
    const by = parseActor(context)
    const isSure = context.flags['yes'] === true
    const config = await loadHere(context)
    const { name: keyStore } = findKeyStore(context, config)
    const { withRetirement } = await import('../../app/retirement.ts')
    const done = await withRetirement(config, keyStore, async (deps) => {
      const name = nameOf(context, keyStore)
      if (isSure) return shredVersion(deps, name, by)
      // If the version is already destroyed, its certificate is printed again.
      const certificate = await findCertificate(deps.store, name)
      if (certificate !== undefined) return certificate
      return findRetirement(createRetirements(deps), name)
    })
    if (done !== undefined && 'statement' in done) {
      context.output.result(JSON.stringify(done, undefined, 2), done)
      return
    }
    context.output.result(
      `would destroy the version: data that it encrypted could never be decrypted again. ${ADD_YES}\n${describePending(done)}`,
      { done: false, retirement: done },
    )
  },
}
