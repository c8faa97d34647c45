/**
 * A fleet on one machine: several `latchkey serve` processes with workers, one PostgreSQL server, and a steady load.
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
/** Whether to run the long version of the test, which requires an otherwise idle machine. */
const IS_LONG = process.env['LATCHKEY_FLEET_ROUNDS'] !== undefined
const LAG_STEP_MS = 10
export const ALL = { scope: { kind: 'all' }, direction: 'both' } as const

export interface Member {
  readonly port: number
  readonly running: Running
  readonly configFile: string
}

/** A request as seen by its caller. */
export interface Outcome {
  readonly member: number
  /** Wall clock time just before the request was written. */
  readonly askedAt: number
  /** Wall clock time just after the response arrived. */
  readonly answeredAt: number
  /** HTTP status, or 0 if there was no response. */
  readonly status: number
}

/** A successful response as logged by its server. */
export interface Success {
  /** Wall clock time of the write, in milliseconds. May be up to one millisecond too early. */
  readonly sentAt: number
  readonly member: number
  /** Wall clock time at which the request's first byte arrived. */
  readonly beganAt: number
}

export interface Fleet {
  readonly postgres: TestPostgres
  readonly pki: TestPki
  readonly credential: Credential
  readonly members: readonly Member[]
  /** The first member's configuration file, which CLI commands use. */
  readonly configFile: string
  readonly config: Config
  readonly control: KillSwitch
  /** Returns every successful Decrypt logged by any member so far. */
  successes(): readonly Success[]
  /** Returns how many responses the servers reported as possibly sent after the lease expired. */
  lateReports(): number
  /**
   * Returns how often a process reported that it had been stopped for longer than its lease and that its connections
   * were cut.
   */
  guardFirings(): number
}

export interface FleetOptions {
  readonly members: number
  readonly workers: number
  readonly lease?: string
  /** Interval at which usage is written to the store. */
  readonly flushInterval?: string
  /** Returns the port that a member connects to instead of the database's own. */
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

/**
 * Returns whether a log line is a request line. Warnings about a response also have an operation and a status, but
 * their timestamp is the time of the warning.
 */
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
      // The long deadline keeps a slow machine from affecting responses.
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
  // A host without a high-water mark refuses to serve until another instance vouches for the store.
  for (const { port } of members) await eventually(() => isServing(port, pki))
  const control = await openKillSwitch(config)
  t.teardown(() => control.close())
  const count = (start: string) =>
    members.flatMap(({ running }) => linesOf(running)).filter(({ msg }) => msg?.startsWith(start))
      .length
  return {
    ...{ postgres, pki, credential, members, configFile, config, control },
    lateReports: () => count('a response may have been sent after the lease'),
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
 * Kills all access as the `kill` command does: it retries while another writer holds the lock. A writer that is
 * disconnected or stopped inside a transaction keeps the lock until PostgreSQL ends its session.
 */
export async function killAll({ control }: Fleet): Promise<Kill> {
  return (await control.stop({ ...ALL, ...BY }, { wait: false })).kill
}

/** Restores all access, and retries after a failure. A failed attempt may nevertheless have been committed. */
export async function restoreAll({ control }: Fleet): Promise<void> {
  const attempt = async () => {
    await control.restore({ target: ALL, ...BY }).catch(() => undefined)
    return (await control.status(0)).switches.length === 0
  }
  await eventually(() => attempt().catch(() => false))
}

/**
 * Waits for a kill, and measures the time from its commit. The time before the commit does not count: it depends on the
 * database, and nothing is revoked yet. Except in the long version, delays of this process's own event loop are
 * subtracted.
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
 * Waits until this many instances are registered. An instance that has been silent for too long has lost its row and
 * its lease, and must register again.
 */
export function untilRegistered({ control }: Fleet, count: number): Promise<void> {
  const isAlive = ({ silentMs, leaseMs }: InstanceStatus) => silentMs < leaseMs / 2
  return eventually(
    async () => (await control.status(0)).instances.filter(isAlive).length === count,
  )
}

function linesOf(running: Running): readonly Line[] {
  return running
    .stdout()
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Line)
}
