/**
 * Manages the admin listeners that a per-user file names, and the listener that the environment
 * sets. A context contains paths to a token and certificates, never a token itself.
 */
// SPDX-License-Identifier: Apache-2.0
import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { randomBytes } from 'node:crypto'
import { dirname, join, resolve } from 'node:path'
import { isExposed } from '../core/plain-http.ts'
import { Secret } from '../core/secret.ts'
import { CONFIG_FLAG, type Context, type Flag, UsageError, stringFlag } from './command.ts'
import { readPrivateFile } from './files.ts'

export interface AdminContext {
  readonly address: string
  readonly tokenFile?: string
  readonly caFile?: string
  readonly clientCertificate?: string
  readonly clientKey?: string
}

export interface ContextFile {
  /** Name of the current context; absent if commands use the control store. */
  readonly current?: string
  readonly contexts: Readonly<Record<string, AdminContext>>
}

/** Address of an admin listener, with the token and certificates that a call needs. */
export interface AdminTarget {
  readonly url: string
  /** Where the address came from, for use in messages, such as `context prod`. */
  readonly source: string
  readonly token?: Secret
  readonly ca?: string
  readonly clientCertificate?: { readonly certificate: string; readonly privateKey: string }
}

export const CONTEXT_FLAG = {
  context: {
    type: 'string',
    value: 'NAME',
    description:
      'Context that names the admin listener to call; see context add (default: $LATCHKEY_ADDR, else the current context). With --config or the name "local", the command uses the control store directly.',
  },
} as const satisfies Record<string, Flag>

/** Flags for commands that either work on the control store or call an admin listener. */
export const PLACE_FLAGS = { ...CONTEXT_FLAG, ...CONFIG_FLAG } as const

/** Reserved context name for the control store of this host. */
export const LOCAL = 'local'
const EMPTY: ContextFile = { contexts: {} }

/**
 * Returns undefined for a process without a home directory, such as a service, which has no
 * contexts.
 */
function contextsPath({ environment }: Context): string | undefined {
  const { XDG_CONFIG_HOME: folder, HOME: home } = environment
  if (folder !== undefined && folder !== '') return join(folder, 'latchkey', 'contexts.json')
  return home === undefined ? undefined : join(home, '.config', 'latchkey', 'contexts.json')
}

/** @throws UsageError, or a system error */
export async function loadContexts(context: Context): Promise<ContextFile> {
  const path = contextsPath(context)
  if (path === undefined) return EMPTY
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return undefined
  })
  if (text === undefined) return EMPTY
  try {
    const file = JSON.parse(text) as Partial<ContextFile> | null
    if (typeof file?.contexts === 'object') return file as ContextFile
  } catch {
    // The error below reports the problem.
  }
  throw new UsageError('INPUT_INVALID', `${path} is not a context file`)
}

/** Replaces the contexts file as a whole. */
export function saveContexts(context: Context, file: ContextFile): Promise<void> {
  return replaceFile(contextsPath(context), file)
}

/**
 * Stores the token from `latchkey login` under the listener's origin, in a file with mode 0600 next
 * to the contexts file.
 */
export async function saveLogin(context: Context, url: string, token: Secret): Promise<void> {
  const path = loginsPath(context)
  await replaceFile(path, { ...(await loadLogins(path)), [url]: token.reveal() })
}

function loginsPath(context: Context): string | undefined {
  const path = contextsPath(context)
  return path && join(dirname(path), 'logins.json')
}

async function loadLogins(path: string | undefined): Promise<Readonly<Record<string, unknown>>> {
  if (path === undefined) return {}
  const bytes = await readPrivateFile(path).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return undefined
  })
  return bytes === undefined ? {} : (JSON.parse(bytes.toString('utf8')) as Record<string, unknown>)
}

async function replaceFile(path: string | undefined, file: object): Promise<void> {
  if (path === undefined)
    throw new UsageError('USAGE', 'cannot store the context file: HOME is not set')
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const draft = `${path}.${randomBytes(6).toString('hex')}.new`
  const handle = await open(draft, 'wx', 0o600)
  try {
    await handle.writeFile(`${JSON.stringify(file, undefined, 2)}\n`)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(draft, path)
}

/**
 * Returns the admin listener that a command should call; undefined for this host's control store.
 * @throws UsageError, or a system error for a file that cannot be read
 */
export async function findAdminTarget(context: Context): Promise<AdminTarget | undefined> {
  const named = stringFlag(context, 'context')
  if (stringFlag(context, 'config') !== undefined) {
    if (named === undefined) return undefined
    throw new UsageError('USAGE', '--config and --context cannot be combined')
  }
  const address = context.environment['LATCHKEY_ADDR'] ?? ''
  if (named === undefined && address !== '') {
    return fromEnvironment(context, address)
  }
  const file = await loadContexts(context)
  const name = named ?? file.current ?? LOCAL
  if (name === LOCAL) return undefined
  const found = Object.hasOwn(file.contexts, name) ? file.contexts[name] : undefined
  if (found === undefined) {
    throw new UsageError('INPUT_INVALID', `there is no context ${name}`, {
      hint: 'run latchkey context list to see the contexts',
    })
  }
  return toTarget(context, `context ${name}`, found)
}

/**
 * Returns the listener that $LATCHKEY_ADDR, the current context or the only context names, even if
 * the command works on the control store.
 */
export async function findKnownTarget(context: Context): Promise<AdminTarget | undefined> {
  const address = context.environment['LATCHKEY_ADDR'] ?? ''
  if (address !== '') return fromEnvironment(context, address)
  const { current, contexts } = await loadContexts(context)
  const names = Object.keys(contexts)
  const name = current ?? (names.length === 1 ? names[0] : undefined)
  const found = name === undefined ? undefined : contexts[name]
  return found && toTarget(context, `context ${String(name)}`, found)
}

/**
 * Returns the admin listener at an address. The token and certificates come from the environment;
 * if the environment sets none, the token comes from the last login at that address.
 */
export function findTargetAt(context: Context, address: string): Promise<AdminTarget> {
  return fromEnvironment(context, address)
}

function fromEnvironment(context: Context, address: string): Promise<AdminTarget> {
  const { environment } = context
  const read = (name: string) => {
    const value = environment[name] ?? ''
    return value === '' ? undefined : value
  }
  const token = read('LATCHKEY_TOKEN')
  const entries = {
    tokenFile: read('LATCHKEY_TOKEN_FILE'),
    caFile: read('LATCHKEY_CACERT'),
    clientCertificate: read('LATCHKEY_CLIENT_CERT'),
    clientKey: read('LATCHKEY_CLIENT_KEY'),
  }
  const given = Object.entries(entries).filter(([, value]) => value !== undefined)
  const one = { address, ...(Object.fromEntries(given) as Omit<AdminContext, 'address'>) }
  return toTarget(context, 'LATCHKEY_ADDR', one, token)
}

/**
 * Builds an admin target. A target with neither a token nor a certificate gets the token from the
 * last login.
 * @param token token that takes precedence over the context's token file
 */
async function toTarget(
  context: Context,
  source: string,
  { address, tokenFile, caFile, clientCertificate, clientKey }: AdminContext,
  token?: string,
): Promise<AdminTarget> {
  if ((clientCertificate === undefined) !== (clientKey === undefined)) {
    throw new UsageError(
      'USAGE',
      `${source}: a client certificate and its key must be given together`,
    )
  }
  const given = token ?? (tokenFile && (await readPrivateFile(tokenFile)).toString('utf8').trim())
  const url = parseAddress(address)
  const isNamed = (given !== undefined && given !== '') || clientCertificate !== undefined
  const bearer = isNamed ? given : (await loadLogins(loginsPath(context)))[url]
  return {
    ...{ url, source },
    ...(typeof bearer === 'string' && bearer !== '' ? { token: new Secret(bearer) } : {}),
    ...(caFile === undefined ? {} : { ca: await readFile(caFile, 'utf8') }),
    ...(clientCertificate === undefined || clientKey === undefined
      ? {}
      : {
          clientCertificate: {
            certificate: await readFile(clientCertificate, 'utf8'),
            privateKey: (await readPrivateFile(clientKey)).toString('utf8'),
          },
        }),
  }
}

/**
 * Accepts plain HTTP only for loopback, because the token could otherwise be read in transit.
 * @throws UsageError
 */
export function parseAddress(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const isBare = url?.pathname === '/' && url.search === '' && url.username === ''
  if (url === undefined || !isBare || !['http:', 'https:'].includes(url.protocol)) {
    throw new UsageError('INPUT_INVALID', `invalid address ${JSON.stringify(text)}`, {
      hint: 'expected https://host:port, without a path',
    })
  }
  if (isExposed(url)) {
    throw new UsageError(
      'INPUT_INVALID',
      `${text}: plain HTTP is allowed only for loopback addresses`,
    )
  }
  return url.origin
}

/** Makes a path absolute, so that a context works from any folder. */
export function toAbsolute(path: string | undefined): string | undefined {
  return path === undefined ? undefined : resolve(path)
}
