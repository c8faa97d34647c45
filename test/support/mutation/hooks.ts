/** Module hooks that load mutated modules. Each mutant has its own module graph, identified by a query parameter. */
// SPDX-License-Identifier: Apache-2.0
import type { InitializeHook, LoadHook, ResolveHook } from 'node:module'

export interface Loaded {
  /** Build folder. Its modules are loaded again for each mutant. */
  readonly build: string
  /** The module to mutate, and its source text for each mutant. */
  readonly module: string
  readonly texts: readonly string[]
}

let loaded: Loaded | undefined

export const initialize: InitializeHook<Loaded> = (data) => {
  loaded = data
}

const mutantOf = (url: string | undefined) => /\?mutant=(\d+)$/.exec(url ?? '')?.[1]

export const resolve: ResolveHook = async (specifier, context, nextResolve) => {
  const mutant = mutantOf(context.parentURL)
  if (mutant === undefined) return nextResolve(specifier, context)
  if (specifier === 'tap') return { url: `mutation:tap?mutant=${mutant}`, shortCircuit: true }
  const resolved = await nextResolve(specifier, context)
  return loaded !== undefined && resolved.url.startsWith(loaded.build)
    ? { ...resolved, url: `${resolved.url}?mutant=${mutant}` }
    : resolved
}

export const load: LoadHook = (url, context, nextLoad) => {
  const mutant = mutantOf(url)
  if (mutant === undefined || loaded === undefined) return nextLoad(url, context)
  const source = url.startsWith('mutation:tap')
    ? 'export default globalThis.tapOfMutant'
    : url.startsWith(`${loaded.module}?`)
      ? loaded.texts[Number(mutant)]
      : undefined
  return source === undefined
    ? nextLoad(url, context)
    : { format: 'module', source, shortCircuit: true }
}
