/** Loads a file into a complete, frozen Config, or reports all errors in the file. */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv'
import { parseDocument } from 'yaml'
import { type Proxy, readProxy } from '../core/proxy.ts'
import type { Secret } from '../core/secret.ts'
import { type Config, toConfig } from './config.ts'
import { nameOrigin, overrideFromEnvironment } from './environment.ts'
import { ConfigError, type Fault, toFault } from './faults.ts'
import { CONFIG, CONFIG_SCHEMA, type RawConfig } from './schema.ts'
import { loadSecrets } from './secrets.ts'
import { checkSemantics } from './semantics.ts'
import type { SecretSource } from './setting.ts'
import { findStateFolder } from './state-folder.ts'

/** A configuration, with the data needed to report later which settings changed. */
export interface LoadedConfig {
  readonly config: Config
  /** The settings as written, with defaults and overrides. */
  readonly raw: RawConfig
  /** Secrets by the path of their setting. */
  readonly secrets: ReadonlyMap<string, Secret>
}

/**
 * Returns the proxy for outgoing HTTPS, from the usual environment variables.
 * @throws ProxyError
 */
export function loadProxy(environment: NodeJS.ProcessEnv = process.env): Proxy | undefined {
  return readProxy(environment)
}

/** @throws ConfigError listing every error in the file */
export async function loadConfig(
  file: string,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<Config> {
  const { config } = await loadConfigWithSource(file, environment)
  return config
}

/** @throws ConfigError listing every error in the file */
export function loadConfigWithSource(
  file: string,
  environment: NodeJS.ProcessEnv,
): Promise<LoadedConfig> {
  return load(file, environment, { pick: (value) => value, concerns: () => true })
}

/** Sections that commands on the control store use. */
const CONTROL_SECTIONS = /^(store|control|policy)\b/

/**
 * Loads only the parts that commands on the control store need.
 * @throws ConfigError with the errors in those parts
 */
export async function loadControlConfig(
  file: string,
  environment: NodeJS.ProcessEnv,
): Promise<Config> {
  const { config } = await load(file, environment, {
    pick: pickControlSections,
    concerns: (path) => CONTROL_SECTIONS.test(path),
  })
  return config
}

/**
 * Checks schema and semantics alone; ignores the files and variables that hold secrets.
 * @throws ConfigError
 */
export async function checkConfigFile(
  file: string,
  environment: NodeJS.ProcessEnv,
): Promise<RawConfig> {
  const written = parseYaml(file, await readText(file, resolve(file)))
  const overridden = overrideFromEnvironment(written, environment)
  const { raw, faults } = checkConfig(overridden.value)
  throwFaults(file, [...overridden.faults, ...faults], overridden.origins)
  return raw
}

async function load(
  file: string,
  environment: NodeJS.ProcessEnv,
  part: {
    readonly pick: (value: unknown) => unknown
    /** Reports whether an invalid variable for this path affects the part that is loaded. */
    readonly concerns: (path: string) => boolean
  },
): Promise<LoadedConfig> {
  const path = resolve(file)
  const absolute = (relative: string) => resolve(dirname(path), relative)
  const written = parseYaml(file, await readText(file, path))
  const overridden = overrideFromEnvironment(written, environment)
  const { raw, faults, secrets } = checkConfig(part.pick(overridden.value))
  const loaded = await loadSecrets(secrets, absolute, environment)
  const own = overridden.faults.filter((fault) => part.concerns(fault.path))
  throwFaults(file, [...own, ...faults, ...loaded.faults], overridden.origins)
  const stateFolder = findStateFolder(dirname(path), environment)
  const config = deepFreeze(toConfig(raw, { ...loaded, absolute }, stateFolder))
  return { config, raw, secrets: loaded.secrets }
}

/** @throws ConfigError if there are errors */
function throwFaults(
  file: string,
  faults: readonly Fault[],
  origins: ReadonlyMap<string, string>,
): void {
  if (faults.length === 0) return
  throw new ConfigError(
    file,
    faults.map((fault) => nameOrigin(fault, origins)),
  )
}

async function readText(file: string, path: string): Promise<string> {
  try {
    const bytes = await readFile(path)
    // Windows editors save "Unicode" as UTF-16, which YAML would report as dozens of syntax errors.
    if (/^(\xff\xfe|\xfe\xff)/.test(bytes.toString('latin1', 0, 2)))
      throw new ConfigError(file, [{ path: '', message: 'is encoded in UTF-16; save it as UTF-8' }])
    return bytes.toString('utf8')
  } catch (cause) {
    if (cause instanceof ConfigError) throw cause
    const { code } = cause as NodeJS.ErrnoException
    const message =
      code === 'ENOENT' ? 'the file does not exist' : `cannot be read (${String(code)})`
    throw new ConfigError(file, [{ path: '', message }], {
      cause,
      ...(code === 'ENOENT'
        ? { hint: 'pass --config FILE, or create a configuration file with latchkey init' }
        : {}),
    })
  }
}

/** @throws ConfigError with every syntax error, each with its line */
function parseYaml(file: string, text: string): unknown {
  // At this log level, the YAML package prints nothing. Its warning about a mapping used as a key
  // would quote the file.
  const document = parseDocument(text, { uniqueKeys: true, prettyErrors: true, logLevel: 'error' })
  // A warning means that a tag is unknown and that its value would silently become plain text.
  const problems = [...document.errors, ...document.warnings]
  if (problems.length > 0) {
    const faults = problems.map(({ code, message }) => ({
      path: '',
      message:
        code === 'MULTIPLE_DOCS'
          ? 'expected one document, found several, separated by "---"'
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

/**
 * Returns the validator, which is compiled once per process, and only when a configuration is read.
 */
function validator(): ValidateFunction {
  if (compiled !== undefined) return compiled
  const ajv = new Ajv({
    allErrors: true,
    useDefaults: true,
    verbose: true,
    strict: true,
    allowUnionTypes: true,
    // These steps would take most of a command's startup time, and are unnecessary: a test checks
    // the schema, and a single file needs no optimized code.
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
 * no errors.
 */
function checkConfig(value: unknown) {
  const validate = validator()
  const faults = validate(value) ? [] : [...toFaults(validate.errors ?? [])]
  const faulty = new Set(faults.map(({ path }) => path.split(/[.[]/)[0]))
  const isSound = (section: keyof RawConfig) => !faulty.has('') && !faulty.has(section)
  const raw = value as RawConfig
  const secrets = new Map<string, SecretSource>()
  // Contains only sections that match the schema: the static types of other sections cannot be
  // relied on.
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
 * Returns a configuration with the given sections `store`, `control` and `policy`, the names of the
 * key stores, and, if a token holds the master key, the backend of that token. Everything else is
 * omitted or replaced by placeholders, because no listener is opened with this configuration, and
 * only the PINs that the store needs are read.
 */
function pickControlSections(value: unknown): unknown {
  if (!isSettings(value)) return value
  const { store, control, policy, keyStores, backends } = value
  const token = at(at(store, 'masterKey'), 'pkcs11')
  const needed = (Array.isArray(backends) ? (backends as unknown[]) : []).filter(
    (one) => token !== undefined && at(one, 'name') === at(token, 'backend'),
  )
  return {
    // The schema requires a listener, although commands that use this configuration do not open
    // one.
    listener: { tls: { certificate: 'none', privateKey: 'none' } },
    store,
    ...(control === undefined ? {} : { control }),
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
