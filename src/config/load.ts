/** Loads a file into a complete, frozen Config, or lists everything that is wrong with it. */
// SPDX-License-Identifier: Apache-2.0
import { readFile, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv'
import { parseDocument } from 'yaml'
import { Secret } from '../core/secret.ts'
import { type Config, toConfig } from './config.ts'
import { ConfigError, type Fault, toFault } from './faults.ts'
import { CONFIG, CONFIG_SCHEMA, type RawConfig } from './schema.ts'
import { checkSemantics } from './semantics.ts'
import type { SecretSource } from './setting.ts'
import { findStateFolder } from './state-folder.ts'

/** @throws ConfigError with every fault of the file */
export function loadConfig(
  file: string,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<Config> {
  return load(file, environment, (value) => value)
}

/**
 * Loads only what commands on the control store need.
 * @throws ConfigError with the faults of those parts
 */
export function loadControlConfig(file: string, environment: NodeJS.ProcessEnv): Promise<Config> {
  return load(file, environment, pickControlSections)
}

/** Checks schema and semantics alone, without the files and variables that hold secrets. @throws ConfigError */
export async function checkConfigFile(file: string): Promise<RawConfig> {
  const { raw, faults } = checkConfig(parseYaml(file, await readText(file, resolve(file))))
  if (faults.length > 0) throw new ConfigError(file, faults)
  return raw
}

async function load(
  file: string,
  environment: NodeJS.ProcessEnv,
  pick: (value: unknown) => unknown,
): Promise<Config> {
  const path = resolve(file)
  const absolute = (relative: string) => resolve(dirname(path), relative)
  const { raw, faults, secrets } = checkConfig(pick(parseYaml(file, await readText(file, path))))
  const loaded = await loadSecrets(secrets, absolute, environment)
  faults.push(...loaded.faults)
  if (faults.length > 0) throw new ConfigError(file, faults)
  const stateFolder = findStateFolder(dirname(path), environment)
  return deepFreeze(toConfig(raw, { ...loaded, absolute }, stateFolder))
}

async function readText(file: string, path: string): Promise<string> {
  try {
    const bytes = await readFile(path)
    // Windows editors save "Unicode" as UTF-16, which would be reported as dozens of syntax errors.
    if (/^(\xff\xfe|\xfe\xff)/.test(bytes.toString('latin1', 0, 2)))
      throw new ConfigError(file, [{ path: '', message: 'is UTF-16; save it as UTF-8' }])
    return bytes.toString('utf8')
  } catch (cause) {
    if (cause instanceof ConfigError) throw cause
    const { code } = cause as NodeJS.ErrnoException
    const message = code === 'ENOENT' ? 'there is no such file' : `cannot be read (${String(code)})`
    throw new ConfigError(file, [{ path: '', message }], {
      cause,
      ...(code === 'ENOENT'
        ? { hint: '--config names the configuration file; latchkey init writes a first one' }
        : {}),
    })
  }
}

/** @throws ConfigError with every syntax error, each with its line */
function parseYaml(file: string, text: string): unknown {
  const document = parseDocument(text, { uniqueKeys: true, prettyErrors: true })
  // A warning means an unknown tag; its value would silently become plain text.
  const problems = [...document.errors, ...document.warnings]
  if (problems.length > 0) {
    const faults = problems.map(({ code, message }) => ({
      path: '',
      message:
        code === 'MULTIPLE_DOCS'
          ? 'has several documents, separated by "---"; expected one'
          : (message.split('\n')[0] ?? '').replace(/:$/, ''),
    }))
    throw new ConfigError(file, faults)
  }
  try {
    return document.toJS()
  } catch (cause) {
    throw new ConfigError(file, [{ path: '', message: 'has too many aliases' }], { cause })
  }
}

let compiled: ValidateFunction | undefined

/** Compiled once per process, and only when a configuration is read. */
function validator(): ValidateFunction {
  if (compiled !== undefined) return compiled
  const ajv = new Ajv({
    allErrors: true,
    useDefaults: true,
    verbose: true,
    strict: true,
    allowUnionTypes: true,
    // These steps would take most of a command's start time: a test checks the schema, and a single
    // file needs no optimized code.
    meta: false,
    validateSchema: false,
    code: { optimize: false },
  })
  ajv.addKeyword('patternErrorMessage')
  compiled = ajv.compile(CONFIG_SCHEMA)
  return compiled
}

/**
 * Checks the schema and the semantics without reading other files. `raw` is complete if there are
 * no faults.
 */
function checkConfig(value: unknown) {
  const validate = validator()
  const faults = validate(value) ? [] : [...toFaults(validate.errors ?? [])]
  const faulty = new Set(faults.map(({ path }) => path.split(/[.[]/)[0]))
  const isSound = (section: keyof RawConfig) => !faulty.has('') && !faulty.has(section)
  const raw = value as RawConfig
  const secrets = new Map<string, SecretSource>()
  // Only sections that match the schema, so that their types are right.
  const sound = faulty.has('')
    ? {}
    : Object.fromEntries(
        Object.entries(raw).filter(([section]) => isSound(section as keyof RawConfig)),
      )
  faults.push(...checkSemantics(raw, isSound))
  CONFIG.visit(sound as RawConfig, '', {
    fault: (path, message) => faults.push({ path, message }),
    secret: (path, source) => secrets.set(path, source),
  })
  return { raw, faults, secrets }
}

function toFaults(errors: readonly ErrorObject[]): readonly Fault[] {
  return errors.map((error) => {
    const parent = error.parentSchema as { properties?: object } | undefined
    return toFault(error, Object.keys(parent?.properties ?? {}))
  })
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    Object.values(value).forEach(deepFreeze)
    Object.freeze(value)
  }
  return value
}

type Settings = Readonly<Record<string, unknown>>

/**
 * Returns a configuration with the given sections `store` and `control`, the names of the key
 * stores, and, if a token holds the master key, the backend of that token. Everything else is left
 * out or replaced by placeholders: no listener is opened with it, and no PIN is read that the store
 * does not need.
 */
function pickControlSections(value: unknown): unknown {
  if (!isSettings(value)) return value
  const { store, control, policy, keyStores, backends } = value
  const token = at(at(store, 'masterKey'), 'pkcs11')
  const needed = (Array.isArray(backends) ? (backends as unknown[]) : []).filter(
    (one) => token !== undefined && at(one, 'name') === at(token, 'backend'),
  )
  return {
    // The schema requires a listener; the commands that use this configuration do not open one.
    listener: { tls: { certificate: 'none', privateKey: 'none' } },
    store,
    ...(control === undefined ? {} : { control }),
    ...(policy === undefined ? {} : { policy }),
    ...(policy === undefined ? {} : { policy }),
    keyStores: pickNames(keyStores),
    ...(token === undefined ? {} : { backends: needed }),
  }
}

function pickNames(keyStores: unknown): unknown {
  if (!Array.isArray(keyStores)) return keyStores
  return (keyStores as unknown[]).map((one, i) =>
    isSettings(one) ? { name: one['name'], prefix: `/${String(i)}` } : one,
  )
}

function at(value: unknown, name: string): unknown {
  return isSettings(value) ? value[name] : undefined
}

function isSettings(value: unknown): value is Settings {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

interface LoadedSecrets {
  readonly faults: readonly Fault[]
  /** Secrets by the path of their setting. */
  readonly secrets: ReadonlyMap<string, Secret>
  /** The environment for modules, without the variables that held secrets. */
  readonly environment: Readonly<Record<string, string>>
}

/** @param sources by the path of their setting */
async function loadSecrets(
  sources: ReadonlyMap<string, SecretSource>,
  absolute: (path: string) => string,
  environment: NodeJS.ProcessEnv,
): Promise<LoadedSecrets> {
  const faults: Fault[] = []
  const secrets = new Map<string, Secret>()
  for (const [path, { file, env = '' }] of sources) {
    const result =
      file === undefined ? fromEnvironment(env, environment) : await fromFile(absolute(file))
    if ('secret' in result) secrets.set(path, result.secret)
    else faults.push({ path, message: result.problem })
  }
  const used = new Set([...sources.values()].map(({ env }) => env))
  const others = Object.entries(environment).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && !used.has(entry[0]),
  )
  return { faults, secrets, environment: Object.fromEntries(others) }
}

/** The secret, or a sentence that says why there is none. */
type SecretResult = { readonly secret: Secret } | { readonly problem: string }

function fromEnvironment(name: string, environment: NodeJS.ProcessEnv): SecretResult {
  const value = environment[name]
  if (value === undefined || value === '')
    return { problem: `the environment variable ${name} is not set` }
  return { secret: new Secret(value) }
}

async function fromFile(path: string): Promise<SecretResult> {
  const found = await stat(path).catch(() => undefined)
  if (found === undefined) return { problem: `there is no file ${path}` }
  if ((found.mode & 0o077) !== 0) {
    return { problem: `others can read ${path}; chmod 600 makes it private` }
  }
  const text = (await readFile(path, 'utf8')).replace(/\r?\n$/, '')
  // A wrong PIN counts towards locking the token, so the mark is not sent along.
  if (/^[\ufeff\ufffd]/.test(text))
    return { problem: `${path} begins with a byte order mark; save it as plain UTF-8` }
  return text === '' ? { problem: `${path} is empty` } : { secret: new Secret(text) }
}
