/** Reads policies from a folder beside the configuration, for users who keep them in Git. */
// SPDX-License-Identifier: Apache-2.0
import { readdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { type Periodic, type Schedule, periodic } from '../core/periodic.ts'
import type { PolicyState } from './authorizer.ts'
import { LABELS } from './labels.ts'
import { type Documents, checkDocuments } from './policy-set.ts'
import { withShadow } from './policy-table.ts'

/**
 * Polling interval. The folder is polled, like the certificate files, because change events get
 * lost on network file systems. A delay of five seconds is acceptable.
 */
const LOOK_EVERY_MS = 5000

/**
 * Loads `NAME.cedar` and `labels.yaml`, which are in force, and `NAME.shadow.cedar` and
 * `labels.shadow.yaml`, which replace them in shadow mode. Other files are ignored.
 * @throws a system error
 */
export async function loadPolicyFolder(folder: string): Promise<PolicyState> {
  const files = (await readdir(folder)).filter(isPolicyFile).sort()
  const enforced = new Map<string, string>()
  const inShadow = new Map<string, string>()
  for (const file of files) {
    const documents = /\.shadow\.(?:cedar|yaml)$/.test(file) ? inShadow : enforced
    documents.set(documentNameOf(file), await readFile(join(folder, file), 'utf8'))
  }
  return { revision: 0, enforced, shadow: withShadow(enforced, inShadow) }
}

/**
 * Returns the contents of `labels.yaml`; undefined if the folder has no such file.
 * @throws a system error
 */
export async function loadFolderLabels(folder: string): Promise<string | undefined> {
  return readFile(join(folder, `${LABELS}.yaml`), 'utf8').catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  })
}

/** @returns the documents by their file names without extension @throws a system error */
export async function loadPolicyFiles(paths: readonly string[]): Promise<Documents> {
  const texts = await Promise.all(paths.map((path) => readFile(path, 'utf8')))
  return new Map(paths.map((path, i) => [documentNameOf(path), texts[i] ?? '']))
}

function isPolicyFile(file: string): boolean {
  return file.endsWith('.cedar') || file === `${LABELS}.yaml` || file === `${LABELS}.shadow.yaml`
}

export function documentNameOf(path: string): string {
  return basename(path).replace(/(?:\.shadow)?\.(?:cedar|yaml)$/, '')
}

/** @throws PolicyError POLICY_INVALID */
export async function checkPolicyState({ enforced, shadow }: PolicyState): Promise<void> {
  await checkDocuments(enforced)
  if (shadow !== undefined) await checkDocuments(shadow)
}

export interface PolicyFolderDeps {
  readonly folder: string
  readonly apply: (state: PolicyState) => Promise<void>
  /** Called when the files are refused, and again only when the files or the reason change. */
  readonly onFailed: (error: unknown) => void
  readonly onApplied: (state: PolicyState) => void
  /** For tests. */
  readonly schedule?: Schedule
}

/**
 * Applies the files now and whenever they change. If any file is invalid, all files are rejected
 * and the previous policies stay in force.
 * @throws PolicyError POLICY_INVALID or a system error if the initial files cannot be used
 */
export async function followPolicyFolder(deps: PolicyFolderDeps): Promise<Periodic> {
  let seen = ''
  let refusal: string | undefined

  async function take(state: PolicyState): Promise<void> {
    await checkPolicyState(state)
    await deps.apply(state)
  }

  async function look(): Promise<void> {
    try {
      const state = await loadPolicyFolder(deps.folder)
      const current = JSON.stringify([[...state.enforced], [...(state.shadow ?? [])]])
      if (current === seen) return
      seen = current
      await take(state)
      refusal = undefined
      deps.onApplied(state)
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      if (reason !== refusal) deps.onFailed(error)
      refusal = reason
    }
  }

  const first = await loadPolicyFolder(deps.folder)
  seen = JSON.stringify([[...first.enforced], [...(first.shadow ?? [])]])
  await take(first)
  return periodic({
    ...{ intervalMs: LOOK_EVERY_MS, work: look, onError: deps.onFailed },
    ...(deps.schedule && { schedule: deps.schedule }),
  })
}
