/**
 * A fleet: several `latchkey serve` with workers, one PostgreSQL and a steady load, on one machine
 * with one clock.
 */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import https from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Test } from 'tap'
import { stringify } from 'yaml'
import { initializeStore, openAdministration } from '../../src/app/administration.ts'
import { openKillSwitch } from '../../src/app/kill-switch.ts'
import type { Config } from '../../src/config/config.ts'
import { loadConfig } from '../../src/config/load.ts'
import type { Kill } from '../../src/killswitch/operator/kill.ts'
import type { KillSwitch } from '../../src/killswitch/operator/service.ts'
import type { InstanceStatus } from '../../src/killswitch/operator/status.ts'
import type { Credential } from '../../src/sigv4/credential.ts'
import { type Running, startLatchkey } from './cli.ts'
import { type TestPki, testPki } from './pki.ts'
import { type TestPostgres, startPostgres } from './postgres.ts'
import { KEY_ID, eventually, keyId } from './server.ts'

export const BY = { reason: 'a test', operator: 'tester', identity: 'os:tester' } as const
/** The long form is for an otherwise idle machine. */
const IS_LONG = process.env['LATCHKEY_FLEET_ROUNDS'] !== undefined
const LAG_STEP_MS = 10
const PATIENCE_MS = 60_000
export const ALL = { scope: { kind: 'all' }, direction: 'both' } as const

export interface Member {
  readonly port: number
  readonly running: Running
  readonly configFile: string
}

/** One request, as its sender saw it. */
export interface Outcome {
  readonly member: number
  /** Wall time before the request was written. */
  readonly askedAt: number
  /** Wall time when the answer had arrived. */
  readonly answeredAt: number
  /** HTTP status; 0 when there was no answer. */
  readonly status: number
}

/** An answer with data, as its sender logged it. */
export interface Success {
  /** Wall time of the write in milliseconds, at most one millisecond early. */
  readonly sentAt: number
  readonly member: number
  /** Wall time at which its first byte arrived. */
  readonly beganAt: number
}

export interface Fleet {
  readonly postgres: TestPostgres
  readonly pki: TestPki
  readonly credential: Credential
  readonly members: readonly Member[]
  /** The first member's configuration, which commands use. */
  readonly configFile: string
  readonly config: Config
  readonly control: KillSwitch
  /** Returns every Decrypt that any member has answered with success so far. */
  successes(): readonly Success[]
  /** Returns how many answers their senders reported as possibly sent after their lease. */
  lateReports(): number
  /**
   * Returns how often a process reported that it was stopped for longer than its lease and that its
   * connections were cut.
   */
  guardFirings(): number
}

export interface FleetOptions {
  readonly members: number
  readonly workers: number
  readonly lease?: string
  /** Interval at which activity is written. */
  readonly flushInterval?: string
  /** Replaces the server's own port, for one member. */
  readonly databasePort?: (member: number, port: number) => number
}

interface Line {
  readonly msg?: string
  readonly port?: number
  readonly operation?: string
  readonly status?: number
  readonly time?: string
  readonly totalMs?: number
}

/** A warning about an answer also has operation and status, and its time is when it was written. */
const isRequest = ({ msg }: Line) => msg === 'request'

export async function startFleet(t: Test, options: FleetOptions): Promise<Fleet> {
  const pki = await testPki()
  const postgres = await startPostgres(t)
  const folder = await mkdtemp(join(tmpdir(), 'latchkey-fleet-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const masterKey = { file: join(folder, 'master.key') }
  const writeConfig = async (member: number) => {
    const own = join(folder, String(member))
    await mkdir(own)
    const { host, database, user } = postgres.target
    const port = options.databasePort?.(member, postgres.target.port) ?? postgres.target.port
    const file = join(own, 'latchkey.yaml')
    const store = {
      postgres: { host, port, database, user, tls: { mode: 'off' } },
      masterKey,
    }
    const yaml = {
      workers: options.workers,
      keyStores: [{ name: 'demo', prefix: '/demo' }],
      store,
      control: { lease: options.lease ?? '2s' },
      activity: { flushInterval: options.flushInterval ?? '5s' },
      // A slow machine must not change answers.
      limits: { requestDeadline: '20s' },
      listener: {
        host: '127.0.0.1',
        port: 0,
        tls: { certificate: pki.certificateFile, privateKey: pki.privateKeyFile },
        drain: { timeout: '1s' },
      },
    }
    await writeFile(file, stringify(yaml))
    return file
  }
  const files = []
  for (let member = 0; member < options.members; member++) files.push(await writeConfig(member))
  const [configFile = ''] = files
  const config = await loadConfig(configFile)
  await initializeStore(config)
  const administration = await openAdministration(config)
  const [store] = config.keyStores
  if (store === undefined) throw new TypeError('no key store')
  await administration
    .keys(store.name)
    .createKey({ keyId: keyId(KEY_ID), canEncrypt: true, canDecrypt: true })
  const credential = await administration.credentials.create(store.name)
  await administration.close()

  const members: Member[] = []
  for (const file of files) {
    const running = startLatchkey(t, ['serve', '--config', file])
    await running.shows(/"listening"\}\n/)
    const line = linesOf(running).find(({ msg }) => msg === 'listening')
    members.push({ port: line?.port ?? 0, running, configFile: file })
  }
  // A host without a high-water mark refuses until another instance vouches for the store.
  for (const { port } of members) await eventually(() => isServing(port, pki), PATIENCE_MS)
  const control = await openKillSwitch(config)
  t.teardown(() => control.close())
  const count = (start: string) =>
    members.flatMap(({ running }) => linesOf(running)).filter(({ msg }) => msg?.startsWith(start))
      .length
  return {
    ...{ postgres, pki, credential, members, configFile, config, control },
    lateReports: () => count('an answer may have left'),
    guardFirings: () => count('this process was suspended for longer than its lease'),
    successes: () =>
      members.flatMap(({ running }, member) =>
        linesOf(running)
          .filter((one) => isRequest(one) && one.operation === 'Decrypt' && one.status === 200)
          .map(({ time = '', totalMs = 0 }) => ({
            beganAt: Date.parse(time),
            sentAt: Date.parse(time) + totalMs,
            member,
          })),
      ),
  }
}

function isServing(port: number, { caFile }: TestPki): Promise<boolean> {
  return new Promise((resolve) => {
    const ca = readFileSync(caFile)
    https
      .get({ host: 'localhost', port, ca, path: '/ping', agent: false }, (response) => {
        response.resume()
        resolve(response.statusCode === 200)
      })
      .once('error', () => {
        resolve(false)
      })
  })
}

/**
 * Measures from the commit, since the database determines how long that takes and nothing is
 * revoked before. On a busy machine this process may be delayed; only the long form counts that
 * too.
 */
export async function waitFor({ control }: Fleet, kill: Kill) {
  const lag = monitorEventLoopDelay({ resolution: LAG_STEP_MS })
  lag.enable()
  const revocation = await control.wait(kill)
  lag.disable()
  const waitedMs = IS_LONG ? 0 : Math.max(0, lag.max / 1e6 - LAG_STEP_MS)
  const fromCommitMs = revocation.elapsedMs - (kill.committedAt - kill.startedAt) - waitedMs
  return { ...revocation, fromCommitMs }
}

/**
 * A process that was silent for long has lost its row, and every lease with it, until it registers
 * again.
 */
export function untilRegistered({ control }: Fleet, count: number): Promise<void> {
  const isAlive = ({ silentMs, leaseMs }: InstanceStatus) => silentMs < leaseMs / 2
  return eventually(
    async () => (await control.status(0)).instances.filter(isAlive).length === count,
    PATIENCE_MS,
  )
}

function linesOf(running: Running): readonly Line[] {
  return running
    .stdout()
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Line)
}
