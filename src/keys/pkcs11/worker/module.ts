/** Loads the PKCS#11 module in its own process. Only this file calls C_Initialize. */
// SPDX-License-Identifier: Apache-2.0
import type pkcs11js from 'pkcs11js'
import { describeAddOnFault, rebuildHint } from '../../../core/native-add-on.ts'
import { CkrFailure, WorkerFailure } from '../wire/errors.ts'

export type Cryptoki = pkcs11js.PKCS11
export type Handle = pkcs11js.Handle
export type Constants = typeof pkcs11js

const CKF_OS_LOCKING_OK = 0x2
const CKR_CRYPTOKI_ALREADY_INITIALIZED = 0x191

export interface Pkcs11Module {
  readonly path: string
  readonly cryptoki: Cryptoki
  readonly constants: Constants
  readonly parameters: string | undefined
}

/** @throws WorkerFailure MISCONFIGURED */
export async function loadModule(
  path: string,
  parameters: string | undefined,
): Promise<Pkcs11Module> {
  const constants = await loadBinding()
  const cryptoki = new constants.PKCS11()
  try {
    cryptoki.load(path)
  } catch {
    throw new WorkerFailure('MISCONFIGURED', `cannot load ${path} as a PKCS#11 module`, {
      hint: 'check the path, and that the module is built for this processor and C library (ldd lists missing libraries)',
    })
  }
  return { path, cryptoki, constants, parameters }
}

/** pkcs11js is an optional dependency: without it, everything except tokens works. */
async function loadBinding(): Promise<Constants> {
  try {
    return (await import('pkcs11js')).default
  } catch (error) {
    throw new WorkerFailure(
      'MISCONFIGURED',
      `pkcs11js, which calls PKCS#11 modules, ${describeAddOnFault(error) ?? 'cannot be loaded'}`,
      { hint: rebuildHint('pkcs11js') },
    )
  }
}

/**
 * Always passes CKF_OS_LOCKING_OK. Without it a module may assume that the process has one thread,
 * but Node.js has several, and SoftHSM then crashes.
 */
export function initialize({ cryptoki, parameters }: Pkcs11Module): void {
  const flags = CKF_OS_LOCKING_OK
  // Appends a space, because pkcs11js drops the last character of the parameters.
  const options =
    parameters === undefined ? { flags } : { flags, libraryParameters: `${parameters} ` }
  try {
    cryptoki.C_Initialize(options)
  } catch (error) {
    const code = codeOf(error)
    // It is not an error if another library in this process has already initialized the module.
    if (code !== CKR_CRYPTOKI_ALREADY_INITIALIZED) throw new CkrFailure('C_Initialize', code)
  }
}

export function finalize({ cryptoki }: Pkcs11Module): void {
  try {
    cryptoki.C_Finalize()
  } catch (error) {
    // Finalizing clears a broken state, so an error such as CRYPTOKI_NOT_INITIALIZED is ignored.
    codeOf(error)
  }
}

/** Converts an error of pkcs11js to its CKR_* code. @throws any other error unchanged */
export function codeOf(error: unknown): number {
  const { name, code } = error as { name?: unknown; code?: unknown }
  if (name === 'Pkcs11Error' && typeof code === 'number') return code
  throw error
}

/** Runs one module call and adds the call's name to any failure. */
export function invoke<T>(call: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw new CkrFailure(call, codeOf(error))
  }
}
