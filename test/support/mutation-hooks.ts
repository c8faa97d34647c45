/** The loader behind mutation-register.ts; it runs on the thread that Node.js has for loaders. */
// SPDX-License-Identifier: Apache-2.0
import type { InitializeHook, LoadHook } from 'node:module'

interface Data {
  readonly url: string
  readonly source: string
}

let data: Data | undefined

export const initialize: InitializeHook<Data> = (given) => {
  data = given
}

export const load: LoadHook = (url, context, nextLoad) =>
  url === data?.url
    ? { format: 'module', source: data.source, shortCircuit: true }
    : nextLoad(url, context)
