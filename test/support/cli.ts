/** Runs the program as a process, and returns its output and exit code. */
// SPDX-License-Identifier: Apache-2.0
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { stringify } from 'yaml'
import { run } from '../../src/cli/run.ts'
import { initializeStore } from '../../src/app/administration.ts'
import { loadConfig } from '../../src/config/load.ts'
import { testPki } from './pki.ts'
import { eventually } from './server.ts'

/** Tests run from the build folder, which also contains the program. */
export const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url))

export interface Ended {
  /** Undefined if a signal killed the process. */
  readonly code: number | undefined
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly cwd?: string
  readonly environment?: Record<string, string>
  readonly input?: string | Buffer
  /** Flags for Node.js itself, passed before the program. */
  readonly nodeFlags?: readonly string[]
}

export interface Running {
  readonly process: ChildProcess
  stdout(): string
  stderr(): string
  /** Waits until standard output matches. @throws if the process exits first */
  shows(text: RegExp): Promise<RegExpExecArray>
  /** Sends a signal, if given, and waits for the process to exit. */
  ended(signal?: NodeJS.Signals): Promise<Ended>
}

/** Passes only PATH from the test's environment. */
const environment = (more: Record<string, string> = {}) => ({
  PATH: process.env['PATH'] ?? '',
  ...more,
})

/** Starts `latchkey ARGUMENTS` with this process's flags for Node.js. The process is killed when the test ends. */
export function startLatchkey(
  t: Test,
  words: readonly string[],
  options: RunOptions = {},
): Running {
  const child = spawn(
    process.execPath,
    [...process.execArgv, ...(options.nodeFlags ?? []), MAIN, ...words],
    {
      cwd: options.cwd ?? tmpdir(),
      env: environment(options.environment),
      stdio: ['pipe', 'pipe', 'pipe'],
    },
  )
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk))
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk))
  // A command that reads no input may already have closed its end of the pipe.
  child.stdin.on('error', () => undefined)
  child.stdin.end(options.input ?? '')
  const end = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => {
      resolve({ code: code ?? undefined, stdout, stderr })
    })
  })
  t.teardown(async () => {
    child.kill('SIGKILL')
    await end
  })
  return {
    process: child,
    stdout: () => stdout,
    stderr: () => stderr,
    async shows(text) {
      const isOver = () => child.exitCode !== null || child.signalCode !== null
      await eventually(() => text.test(stdout) || isOver())
      const found = text.exec(stdout)
      if (found === null) throw new Error(`it ended: ${stdout}\n${stderr}`)
      return found
    },
    ended(signal) {
      if (signal !== undefined) child.kill(signal)
      return end
    },
  }
}

/** Runs `latchkey ARGUMENTS` and waits until it exits. */
export function latchkey(
  t: Test,
  words: readonly string[],
  options: RunOptions = {},
): Promise<Ended> {
  return startLatchkey(t, words, options).ended()
}

/**
 * Runs a command in this process, and returns its output and exit code.
 * @param onNote receives each note as it is printed
 */
export async function latchkeyHere(
  words: readonly string[],
  environment: NodeJS.ProcessEnv = {},
  onNote?: (text: string) => void,
): Promise<Ended> {
  let stdout = ''
  let stderr = ''
  const code = await run(words, environment, {
    stdout: (text) => (stdout += text),
    stderr: (text) => {
      stderr += text
      onNote?.(text)
    },
  })
  return { code, stdout, stderr }
}

export interface Workspace {
  readonly folder: string
  readonly configFile: string
  readonly caFile: string
  /**
   * Runs a command in this process. This takes a fraction of the time of a separate process, and skips only the few
   * lines in main.ts.
   */
  run(...words: readonly string[]): Promise<Ended>
  /** Runs a command as a separate process in the folder, where it finds latchkey.yaml. */
  runProcess(options: RunOptions, ...words: readonly string[]): Promise<Ended>
  /** Runs a command with --json and returns the parsed output. The command must succeed. */
  json(...words: readonly string[]): Promise<unknown>
  /** Starts `latchkey serve` and waits until it is listening. */
  serve(): Promise<{ readonly running: Running; readonly port: number }>
}

export interface WorkspaceOptions {
  readonly keyStores?: readonly Record<string, unknown>[]
  readonly listener?: Record<string, unknown>
  /** Additional sections and top-level settings. */
  readonly settings?: Record<string, unknown>
  readonly withoutStore?: boolean
}

/** Creates a folder with a configuration and, unless disabled, a new store. */
export async function workspace(t: Test, options: WorkspaceOptions = {}): Promise<Workspace> {
  const folder = await temporaryFolder(t)
  const pki = await testPki()
  const configFile = join(folder, 'latchkey.yaml')
  const config = {
    listener: {
      host: '127.0.0.1',
      port: 0,
      tls: { certificate: pki.certificateFile, privateKey: pki.privateKeyFile },
      ...options.listener,
    },
    keyStores: options.keyStores ?? [{ name: 'demo', prefix: '/demo' }],
    store: {
      ...{ path: 'latchkey.db', masterKey: { file: 'master.key' }, pollInterval: '50ms' },
      // Test stores have no backup; without this setting, a warning at each start would hide other warnings.
      maxBackupAge: '0s',
    },
    limits: { requestDeadline: '20s' },
    ...options.settings,
  }
  await writeFile(configFile, stringify(config))
  if (options.withoutStore !== true) await initializeStore(await loadConfig(configFile, {}))
  const runHere = (...words: readonly string[]) =>
    latchkeyHere(words, { LATCHKEY_CONFIG: configFile })
  return {
    folder,
    configFile,
    caFile: pki.caFile,
    run: runHere,
    runProcess: (more, ...words) => latchkey(t, words, { cwd: folder, ...more }),
    async json(...words) {
      const { code, stdout, stderr } = await runHere(...words, '--json')
      if (code !== 0) throw new Error(`${words.join(' ')} ended with ${String(code)}: ${stderr}`)
      return JSON.parse(stdout) as unknown
    },
    async serve() {
      const running = startLatchkey(t, ['serve'], { cwd: folder })
      const [line] = await running.shows(/^.*"listening".*$/m)
      return { running, port: (JSON.parse(line) as { port: number }).port }
    },
  }
}

export async function temporaryFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'latchkey-cli-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  return folder
}
