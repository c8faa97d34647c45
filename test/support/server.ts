/** Runs the real server in this process, over real TLS and with its own store, for the duration of a test. */
// SPDX-License-Identifier: Apache-2.0
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { stringify } from 'yaml'
import { parseExternalKeyId, type ExternalKeyId } from '../../src/core/ids.ts'
import type { Secret } from '../../src/core/secret.ts'
import { openAdministration, type Administration } from '../../src/app/administration.ts'
import { startServer, type RunningServer } from '../../src/app/server.ts'
import { loadConfig } from '../../src/config/load.ts'
import type { Config } from '../../src/config/config.ts'
import {
  createKmsSideClient,
  type KmsSideClient,
  type KmsSideClientOptions,
} from '../../src/kms/client/client.ts'
import type { Credential } from '../../src/sigv4/credential.ts'
import { testPki, type TestPki } from './pki.ts'
import { makeServerStore, openLate } from './server-store.ts'

export const REGION = 'us-east-1'
/** Id of a key that exists in every key store. */
export const KEY_ID = 'test-key'

/** Timeout of a request in milliseconds, long enough that only a request that hangs exceeds it. */
export const CLIENT_TIMEOUT_MS = 30_000

type Json = Record<string, unknown>

/**
 * The `control` section for servers whose process may stall on a busy machine. The lease is long, so that it does not
 * expire during a stall.
 */
export const PATIENT_CONTROL = { lease: '1m' }

/**
 * The `control` section for servers whose access a test kills. A kill may wait for as long as a lease lasts, so the
 * long lease of other test servers could delay it.
 */
export const KILLED = { lease: '2s' }

/** This warning depends only on the Node.js version, so tests ignore it. */
const OLD_NODE = 'this release of Node.js no longer receives security fixes'

export interface TestServerOptions {
  /** Sections merged over the defaults below, as written in latchkey.yaml. */
  readonly config?: {
    readonly listener?: Json
    readonly keyStores?: readonly (Json & { readonly name: string })[]
    readonly [section: string]: unknown
  }
  /** Whether to create the server without starting it. The test calls `start` later. */
  readonly stopped?: boolean
}

export interface TestServer {
  readonly folder: string
  readonly pki: TestPki
  readonly configFile: string
  readonly config: Config
  readonly logFile: string
  readonly port: number
  /** Path such as `/demo/kms/xks/v1`. */
  readonly uriPath: string
  readonly credential: Credential
  /** The CLI's administration. Its changes reach the running server through the store. */
  readonly administration: Administration
  readonly running: RunningServer
  /** Returns a client that keeps its connection alive and is closed when the test ends. */
  client(options?: Partial<KmsSideClientOptions>): KmsSideClient
  /** Creates a key in the first key store. */
  createKey(
    keyId: string,
    options?: { encrypt?: boolean; decrypt?: boolean; material?: Secret<Buffer> },
  ): Promise<ExternalKeyId>
  start(): Promise<void>
  /** Stops the server and waits for it. Calling it again has no effect. */
  stop(): Promise<void>
  /** Stops the server and returns all lines from its log. */
  stopAndReadLog(): Promise<readonly Json[]>
}

/** Conditions usually become true within milliseconds, but may take seconds on a busy machine. */
const SOON_MS = 60_000
const STEP_MS = 10

/**
 * Waits until `check` returns true.
 * @throws after `withinMs` (default: 60 seconds)
 */
export async function eventually(
  check: () => boolean | Promise<boolean>,
  withinMs = SOON_MS,
): Promise<void> {
  const until = performance.now() + withinMs
  while (!(await check())) {
    if (performance.now() > until) throw new Error('it did not come true in time')
    await new Promise((resolve) => setTimeout(resolve, STEP_MS))
  }
}

export function keyId(text: string): ExternalKeyId {
  const parsed = parseExternalKeyId(text)
  if (parsed === undefined) throw new TypeError(`invalid key id: ${text}`)
  return parsed
}

export async function startTestServer(
  t: Test,
  options: TestServerOptions = {},
): Promise<TestServer> {
  const pki = await testPki()
  const folder = await mkdtemp(join(tmpdir(), 'latchkey-test-'))
  const configFile = join(folder, 'latchkey.yaml')
  await writeFile(configFile, stringify(toYaml(pki, options.config)))
  const config = await loadConfig(configFile)
  const [first] = config.keyStores
  if (first === undefined) throw new TypeError('no key store')
  const credential = await makeServerStore(config, keyId(KEY_ID))
  const administration = openLate(() => openAdministration(config))
  const logFile = join(folder, 'latchkey.log')
  const uriPath = `${first.prefix}/kms/xks/v1`
  let running: RunningServer | undefined
  const up = () => {
    if (running === undefined) throw new Error('the server is stopped')
    return running
  }
  const clients: KmsSideClient[] = []
  const server: TestServer = {
    folder,
    pki,
    configFile,
    config,
    logFile,
    uriPath,
    credential,
    administration,
    get port() {
      return up().xks.port
    },
    get running() {
      return up()
    },
    client(over = {}) {
      const client = createKmsSideClient({
        endpoint: `https://localhost:${String(up().xks.port)}`,
        uriPath,
        accessKeyId: credential.accessKeyId,
        secretAccessKey: credential.secretAccessKey,
        region: REGION,
        caFile: pki.caFile,
        timeoutMs: CLIENT_TIMEOUT_MS,
        ...over,
      })
      clients.push(client)
      return client
    },
    async createKey(text, { encrypt = true, decrypt = true, material } = {}) {
      const id = keyId(text)
      await administration.keys(first.name).createKey({
        keyId: id,
        canEncrypt: encrypt,
        canDecrypt: decrypt,
        ...(material === undefined ? {} : { material }),
      })
      return id
    },
    async start() {
      running = await startServer(config, { logFile })
    },
    async stop() {
      const stopping = running
      running = undefined
      await Promise.all(clients.splice(0).map((client) => client.close()))
      await stopping?.stop()
    },
    async stopAndReadLog() {
      await server.stop()
      const lines = (await readFile(logFile, 'utf8')).trimEnd().split('\n')
      return lines.map((line) => JSON.parse(line) as Json).filter(({ msg }) => msg !== OLD_NODE)
    },
  }
  t.teardown(async () => {
    await server.stop()
    await administration.close()
    await rm(folder, { recursive: true, force: true })
  })
  if (options.stopped !== true) await server.start()
  return server
}

function toYaml(pki: TestPki, over: TestServerOptions['config'] = {}): Json {
  return {
    keyStores: [{ name: 'demo', prefix: '/demo' }],
    store: {
      ...{ path: 'latchkey.db', masterKey: { file: 'master.key' }, pollInterval: '50ms' },
      // Test stores have no backup; without this setting, a warning at each start would hide other warnings.
      maxBackupAge: '0s',
    },
    ...over,
    control: { ...PATIENT_CONTROL, ...(over['control'] as Json | undefined) },
    // The long deadline keeps a busy machine from causing refusals. Tests of the deadline set their own deadline.
    limits: { requestDeadline: '20s', ...(over['limits'] as Json | undefined) },
    listener: {
      host: '127.0.0.1',
      port: 0,
      tls: { certificate: pki.certificateFile, privateKey: pki.privateKeyFile },
      drain: { timeout: '2s' },
      ...over.listener,
    },
  }
}
