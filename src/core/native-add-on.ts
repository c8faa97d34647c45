/** Explains what in the installation prevents a native add-on from being loaded. */
// SPDX-License-Identifier: Apache-2.0

/**
 * Returns the rest of a sentence that begins with the add-on's name, or undefined if the error is
 * about something else.
 */
export function describeAddOnFault(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined
  const code: unknown = 'code' in error ? error.code : undefined
  const here = `this is Node.js ${process.version} for ${process.platform} ${process.arch}`
  if (code === 'ERR_DLOPEN_FAILED') {
    const built = /NODE_MODULE_VERSION (\d+)/.exec(error.message)?.[1]
    const { modules } = process.versions
    return built === undefined || built === modules
      ? `cannot be loaded here: ${here}`
      : `was built for a different version of Node.js (module version ${built}); ${here}, which needs ${modules}`
  }
  if (error.message.startsWith('Could not locate the bindings file')) return `is not built; ${here}`
  return code === 'MODULE_NOT_FOUND' || code === 'ERR_MODULE_NOT_FOUND'
    ? `is not installed; ${here}`
    : undefined
}

/** Describes why one of Latchkey's own add-ons cannot be used. */
export function describeMissingAddOn(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  // Node's message lists every path that it tried, on separate lines.
  if ('code' in error && error.code === 'MODULE_NOT_FOUND') return 'the add-on is not built'
  const fault = describeAddOnFault(error)
  return fault === undefined ? error.message : `the add-on ${fault}`
}

/**
 * Returns the command that builds an add-on for the running Node.js, to be run in Latchkey's
 * folder.
 */
export function rebuildHint(name: string): string {
  return `run npm rebuild ${name} --ignore-scripts=false in the Latchkey folder; if no prebuilt binary can be downloaded, the build needs python3, make and a C++ compiler`
}
