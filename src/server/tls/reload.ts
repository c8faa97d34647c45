/**
 * Loads renewed certificates without a restart, and keeps the old ones when the new ones are
 * invalid.
 */
// SPDX-License-Identifier: Apache-2.0
import { stat } from 'node:fs/promises'
import { periodic, type Periodic, type Schedule } from '../../core/periodic.ts'
import { loadTlsMaterial, type TlsFiles, type TlsMaterial } from './material.ts'

/**
 * Polling interval for the files. Change events get lost on network file systems and with the
 * symbolic links of mounted secrets, and a delay of five seconds is acceptable.
 */
const LOOK_EVERY_MS = 5000

export interface CertificateReload {
  start(): void
  stop(): Promise<void>
  /**
   * Reads the files now, whether or not they changed.
   * @throws TlsError; the old material stays in use
   */
  reload(): Promise<void>
}

/** Material with the state of its files just before they were read. */
export interface LoadedMaterial {
  readonly material: TlsMaterial
  readonly fingerprint: string
}

/**
 * Loads the files at startup. Their fingerprint is taken before they are read, so that the first
 * check notices files that were renewed while the server was starting.
 * @throws TlsError
 */
export async function loadForReload(config: TlsFiles, now: number): Promise<LoadedMaterial> {
  const current = await fingerprint(filesOf(config))
  return { material: await loadTlsMaterial(config, now), fingerprint: current }
}

export interface CertificateReloadDeps {
  readonly config: TlsFiles
  /** Fingerprint of the files that are in use. */
  readonly fingerprint: string
  readonly now: () => number
  readonly apply: (material: TlsMaterial) => void
  readonly onReloaded: (material: TlsMaterial) => void
  /** Called when the files are refused, and again only when the files or the reason change. */
  readonly onFailed: (error: unknown) => void
  /** For tests. */
  readonly schedule?: Schedule
}

export function createCertificateReload(deps: CertificateReloadDeps): CertificateReload {
  const files = filesOf(deps.config)
  let looking: Periodic | undefined
  let seen = deps.fingerprint
  /** The reason the current files were refused. */
  let refusal: string | undefined

  async function reload(): Promise<void> {
    const material = await loadTlsMaterial(deps.config, deps.now())
    refusal = undefined
    deps.apply(material)
    deps.onReloaded(material)
  }

  async function look(): Promise<void> {
    const current = await fingerprint(files)
    const isChanged = current !== seen
    // Rejected files are retried at every check, because a certificate may become valid, a missing
    // key may arrive, or a disk may recover.
    if (!isChanged && refusal === undefined) return
    seen = current
    try {
      await reload()
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      if (isChanged || reason !== refusal) deps.onFailed(error)
      refusal = reason
    }
  }

  return {
    start() {
      looking = periodic({
        ...{ intervalMs: LOOK_EVERY_MS, work: look, onError: deps.onFailed },
        ...(deps.schedule && { schedule: deps.schedule }),
      })
    },
    async stop() {
      await looking?.stop()
    },
    reload,
  }
}

function filesOf({ tls, clientCertificate }: TlsFiles): readonly string[] {
  const files = [tls.certificateFile, tls.privateKeyFile]
  const authorities = [clientCertificate, clientCertificate?.forwardedBy?.certificate]
  for (const authority of authorities) if (authority !== undefined) files.push(authority.caFile)
  return files
}

async function fingerprint(files: readonly string[]): Promise<string> {
  const stats = await Promise.all(
    files.map(async (file) => {
      const found = await stat(file).catch(() => undefined)
      return found === undefined
        ? 'absent'
        : [found.ino, found.size, found.mtimeMs, found.ctimeMs].join(' ')
    }),
  )
  return stats.join('\n')
}
