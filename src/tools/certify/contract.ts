/** Runs the contract suite for key backends on a token. */
// SPDX-License-Identifier: Apache-2.0
import type { OpenToken, TokenWorkplace } from '../../app/token-workplace.ts'
import { systemClock as clock } from '../../core/clock.ts'
import { Deadline } from '../../core/deadline.ts'
import { parseExternalKeyId, type ExternalKeyId } from '../../core/ids.ts'
import { Secret } from '../../core/secret.ts'
import type { KeyAdministration } from '../../keys/administration.ts'
import type { KeyBackendFixture, KeyBackendTraits } from '../../keys/suite/fixture.ts'
import { promised } from '../../keys/suite/promised-backend.ts'
import { CHECKS, type CheckResult, describeError, runCheck } from '../../keys/suite/suite.ts'

export interface ContractReport {
  /** Reason the token refuses to import keys; undefined if it accepts them. */
  readonly importRefusal: string | undefined
  readonly checks: readonly CheckResult[]
}

/** Long timeouts, because the checks test correctness, not speed. */
const SETTINGS = {
  sessions: { min: 1, max: 2 },
  deadlines: { operationMs: 5000, startMs: 60_000, stuckMs: 1000 },
}
const IV_SAMPLES = 500
const MAX_PLAINTEXT_BYTES = 65_536
const HEALTH_MS = 20_000

/**
 * @param onCheck called before each check
 * @throws BackendError if the token cannot be opened; `signal.reason` after an abort
 */
export async function runContract(
  workplace: TokenWorkplace,
  signal: AbortSignal,
  onCheck: (check: string, index: number, count: number) => void,
): Promise<ContractReport> {
  const importRefusal = await tryImport(workplace)
  const traits: KeyBackendTraits = {
    ...{ maxPlaintextBytes: MAX_PLAINTEXT_BYTES, ivSamples: IV_SAMPLES },
    importsKeys: importRefusal === undefined,
    firstEncryptWaits: true,
  }
  const names = Object.keys(CHECKS)
  const checks: CheckResult[] = []
  let token: OpenToken | undefined
  try {
    for (const [index, check] of names.entries()) {
      // Aborts only between checks, because a module that is killed while it creates a key may
      // leave a partial key behind.
      signal.throwIfAborted()
      onCheck(check, index, names.length)
      token ??= await workplace.open(SETTINGS)
      const fixture = openFixture(token, String(index))
      const result = await runCheck(check, () => Promise.resolve(fixture), traits)
      await fixture.end()
      checks.push(result)
      if (result.faults.length === 0) continue
      // Closing the token makes the next check start new processes.
      await token.close()
      token = undefined
    }
    signal.throwIfAborted()
    return { importRefusal, checks }
  } finally {
    await token?.close()
  }
}

/** Returns the reason the token refuses to import keys; undefined if it imports them. */
async function tryImport(workplace: TokenWorkplace): Promise<string | undefined> {
  const token = await workplace.open(SETTINGS)
  const { administration } = token.keyStore('import')
  const material = new Secret(Buffer.alloc(32, 'import'))
  const keyId = toKeyId('imported')
  try {
    await administration.createKey({ keyId, canEncrypt: true, canDecrypt: true, material })
    return undefined
  } catch (error) {
    return describeError(error)
  } finally {
    await token.close()
  }
}

interface Fixture extends KeyBackendFixture {
  end(): Promise<void>
}

/** @param prefix added to the names of the key stores; different for each check */
function openFixture(token: OpenToken, prefix: string): Fixture {
  const created: (() => Promise<void>)[] = []
  const keyStore = (name: string) => {
    const { backend, administration, destroyBehind } = token.keyStore(`${name}-${prefix}`)
    const track = (keyId: string, version: number) => {
      created.push(() => destroyBehind(keyId, version))
    }
    return { backend: promised(backend), administration: tracking(administration, track) }
  }
  const main = keyStore('demo')
  const send = (name: NodeJS.Signals) => {
    sendSignal(token, name)
  }
  return {
    ...main,
    other: keyStore('other'),
    settle: () => token.settle(),
    stall() {
      send('SIGSTOP')
      return Promise.resolve(async () => {
        send('SIGCONT')
        // Wait until the token is ACTIVE again, because until then it refuses every request
        // immediately.
        const endsAt = clock.monotonic() + HEALTH_MS
        while (clock.monotonic() < endsAt) {
          const [health] = await main.backend.health(new Deadline(clock, HEALTH_MS))
          if (health?.status === 'ACTIVE') break
        }
      })
    },
    async end() {
      // A token can hold only a few keys, so each check destroys the keys that it created;
      // `discard` destroys any that remain.
      for (const destroy of created) await destroy().catch(() => undefined)
    },
  }
}

/** Reports each created key version to `track`. */
function tracking(
  inner: KeyAdministration,
  track: (keyId: string, version: number) => void,
): KeyAdministration {
  return {
    async createKey(key) {
      const summary = await inner.createKey(key)
      track(key.keyId, 1)
      return summary
    },
    async rotateKey(keyId) {
      const summary = await inner.rotateKey(keyId)
      track(keyId, summary.versions.at(-1)?.version ?? 1)
      return summary
    },
    listKeys: (page) => inner.listKeys(page),
    setKeyStatus: (keyId, status) => inner.setKeyStatus(keyId, status),
    setKeyDates: (keyId, change) => inner.setKeyDates(keyId, change),
    destroyVersion: (keyId, version, guard) => inner.destroyVersion(keyId, version, guard),
  }
}

/** Sends a signal to every worker process that still exists. */
export function sendSignal(token: OpenToken, name: NodeJS.Signals): void {
  for (const pid of token.pids()) {
    try {
      process.kill(pid, name)
    } catch {
      // The process has already ended.
    }
  }
}

export function toKeyId(text: string): ExternalKeyId {
  const keyId = parseExternalKeyId(text)
  if (keyId === undefined) throw new TypeError(`invalid key id: ${text}`)
  return keyId
}
