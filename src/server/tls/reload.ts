/** Takes up renewed certificates without a restart, and keeps the old ones when the new are bad. */
// SPDX-License-Identifier: Apache-2.0
import { stat } from 'node:fs/promises'
import type { ListenerConfig } from '../../config/config.ts'
import { loadTlsMaterial, type TlsMaterial } from './material.ts'

/**
 * Files are looked at, not watched: change events get lost on network file systems and with the
 * symbolic links of mounted secrets, and five seconds are soon enough.
 */
const LOOK_EVERY_MS = 5000

export interface CertificateReload {
  start(): Promise<void>
  stop(): void
  /** Reads the files now, changed or not. @throws TlsError; the old material stays in use */
  reload(): Promise<void>
}

export interface CertificateReloadDeps {
  readonly config: ListenerConfig
  readonly now: () => number
  readonly apply: (material: TlsMaterial) => void
  readonly onReloaded: (material: TlsMaterial) => void
  readonly onFailed: (error: unknown) => void
}

export function createCertificateReload(deps: CertificateReloadDeps): CertificateReload {
  const { tls, clientCertificate } = deps.config
  const files = [tls.certificateFile, tls.privateKeyFile]
  const authorities = [clientCertificate, clientCertificate?.forwardedBy?.certificate]
  for (const authority of authorities) if (authority !== undefined) files.push(authority.caFile)
  let timer: NodeJS.Timeout | undefined
  let seen = ''
  let stopped = false

  async function reload(): Promise<void> {
    const material = await loadTlsMaterial(deps.config, deps.now())
    deps.apply(material)
    deps.onReloaded(material)
  }

  async function look(): Promise<void> {
    const current = await fingerprint(files)
    if (current !== seen) {
      // Remembered before the attempt: a bad file is reported once, and again when it changes.
      seen = current
      await reload().catch(deps.onFailed)
    }
    schedule()
  }

  function schedule(): void {
    if (stopped) return
    timer = setTimeout(() => void look(), LOOK_EVERY_MS)
    timer.unref()
  }

  return {
    async start() {
      seen = await fingerprint(files)
      schedule()
    },
    stop() {
      stopped = true
      clearTimeout(timer)
    },
    reload,
  }
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
