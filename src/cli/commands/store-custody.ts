/** Implements `latchkey store rekey | escrow`, which determine who can open the control store. */
// SPDX-License-Identifier: Apache-2.0
import { createPublicKey } from 'node:crypto'
import { access, readFile } from 'node:fs/promises'
import { toStoreOptions, toTokenSource } from '../../app/store.ts'
import type { Config } from '../../config/config.ts'
import { systemClock } from '../../core/clock.ts'
import { Secret } from '../../core/secret.ts'
import type { Escrow } from '../../store/custody.ts'
import type { MasterKeySource } from '../../store/master-key.ts'
import type { RekeyStage } from '../../store/rekey.ts'
import {
  ADD_YES,
  BACKEND_FLAG,
  type Command,
  CONFIG_FLAG,
  type Context,
  loadContextConfig,
  loadControlConfig,
  stringFlag,
  UsageError,
  YES_FLAG,
} from '../../terminal/command.ts'
import { readPrivateFile, writeNewFile } from '../../terminal/files.ts'
import { readRecoveryKey } from './store-recovery-key.ts'

export const storeRekey: Command = {
  flags: {
    'new-master-key': {
      type: 'string',
      value: 'FILE',
      description: 'New master key file. It is created if it does not exist.',
    },
    'new-passphrase': {
      type: 'string',
      value: 'FILE',
      description: 'File with a new passphrase on its first line; - for standard input.',
    },
    'new-token-key': {
      type: 'string',
      value: 'LABEL',
      description:
        'Label of the token key to use as the new master key, such as "latchkey master key". It is created if it does not exist.',
    },
    ...BACKEND_FLAG,
    'new-store-key': {
      type: 'boolean',
      description:
        "Replace the store's own key and reseal everything without stopping the servers. The master key stays the same.",
    },
    escrow: {
      type: 'string',
      value: 'FILE',
      description: 'Escrow file to open the store with if the master key is lost.',
    },
    'recovery-key': {
      type: 'string',
      value: 'FILE',
      description: 'PEM file of the recovery private key that opens the escrow.',
    },
    'recovery-parts': {
      type: 'string',
      value: 'FILES',
      description:
        'Files with parts of the recovery private key, separated by commas, to use instead of --recovery-key.',
    },
    ...YES_FLAG,
    ...CONFIG_FLAG,
  },
  examples: [
    'latchkey store rekey --new-master-key /etc/latchkey/master-2.key',
    'latchkey store rekey --new-token-key "latchkey master key" --backend hsm --yes',
    'latchkey store rekey --new-store-key --yes',
    'latchkey store rekey --escrow escrow.json --recovery-key recovery.pem --new-master-key master-2.key --yes',
  ],
  async run(context) {
    if (context.flags['new-store-key'] === true) {
      await replaceKey(context)
      return
    }
    const label = stringFlag(context, 'new-token-key')
    const config = await (label === undefined ? loadControlConfig : loadContextConfig)(context)
    checkNewSource(context)
    if (context.flags['yes'] !== true) {
      show(context, 'replace the master key of the store: the old master key no longer opens it')
      return
    }
    const next = await readNewSource(context, config)
    const { rewrapStore } = await import('../../store/custody.ts')
    const masterKey = await readEscrow(context)
    const options =
      masterKey === undefined ? await toStoreOptions(config) : toEscrowed(config, masterKey)
    await rewrapStore({ ...options, connections: 'one' }, next)
    context.output.result(
      'the store has the new master key: set store.masterKey to it before the next start. Running servers keep working. Earlier backups still need the old master key.',
      { done: true, kind: next.kind },
    )
  },
}

export const storeEscrow: Command = {
  operands: ['FILE'],
  flags: {
    to: {
      type: 'string',
      value: 'PEM',
      description:
        "PEM file of the recovery key pair's RSA public key, at least 3,072 bits (required).",
    },
    ...CONFIG_FLAG,
  },
  examples: ['latchkey store escrow escrow.json --to recovery-public.pem'],
  async run(context) {
    const [path = ''] = context.operands
    if (path === '') throw new UsageError('USAGE', 'expected FILE')
    const to = stringFlag(context, 'to')
    if (to === undefined) throw new UsageError('USAGE', '--to is missing')
    const { escrowStoreKey } = await import('../../store/custody.ts')
    const options = await toStoreOptions(await loadControlConfig(context))
    const recoveryKey = await parseKey(to, createPublicKey)
    const escrow = await escrowStoreKey({ ...options, connections: 'one' }, recoveryKey)
    await writeNewFile(path, `${JSON.stringify(escrow)}\n`, 0o600)
    const text = `the key of store ${escrow.storeId} is in ${path}, encrypted with the recovery key ${escrow.recoveryKey}`
    context.output.result(text, { file: path, ...escrow })
  },
}

/** Timeout that allows each server to poll and to read its master key from a token. */
const PATIENCE_MS = 60_000

const STAGES: Readonly<Record<RekeyStage, string>> = {
  announced: 'waiting until every instance has the new store key',
  switched: 'new data is sealed with the new store key; resealing everything else',
  rewrapped: 'everything is sealed with the new store key; waiting for every instance to use it',
  finished: 'the old store key was discarded',
}

async function replaceKey(context: Context): Promise<void> {
  const others = [
    'new-master-key',
    'new-passphrase',
    'new-token-key',
    'escrow',
    'recovery-key',
    'recovery-parts',
  ]
  const other = others.find((name) => context.flags[name] !== undefined)
  if (other !== undefined) {
    throw new UsageError('USAGE', `--new-store-key cannot be combined with --${other}`)
  }
  const config = await loadControlConfig(context)
  if (context.flags['yes'] !== true) {
    show(
      context,
      "replace the store's key and reseal everything: earlier escrows no longer open the store",
    )
    return
  }
  const options = await toStoreOptions(config, { connections: 'one' })
  const { replaceStoreKey } = await import('../../killswitch/operator/rekey.ts')
  const rows = await replaceStoreKey(options, {
    patienceMs: PATIENCE_MS,
    onStage: (stage) => {
      context.output.note(STAGES[stage])
    },
    onProgress: (done) => {
      context.output.progress(`${String(done)} rows`)
    },
  })
  context.output.result(
    `the store has a new key, and ${String(rows)} rows were resealed. If you have an escrow, create a new one: earlier escrows no longer open the store. Earlier backups still open.`,
    { done: true, rows },
  )
}

function show({ output }: Context, what: string): void {
  output.result(output.fold(`would ${what}. ${ADD_YES}`), { would: what, done: false })
}

/**
 * Labels that start with these characters cannot name a served key, because key ids cannot start
 * with them.
 */
const LABEL_START = 'latchkey '

const SOURCES = ['new-master-key', 'new-passphrase', 'new-token-key'] as const

/** @throws UsageError */
function checkNewSource(context: Context): void {
  if (SOURCES.filter((name) => context.flags[name] !== undefined).length !== 1) {
    throw new UsageError(
      'USAGE',
      'expected one of --new-master-key, --new-passphrase or --new-token-key',
    )
  }
  if (stringFlag(context, 'new-token-key')?.startsWith(LABEL_START) === false) {
    throw new UsageError(
      'INPUT_INVALID',
      `--new-token-key: expected a label that begins with "${LABEL_START}"`,
    )
  }
}

async function readNewSource(context: Context, config: Config): Promise<MasterKeySource> {
  const path = stringFlag(context, 'new-master-key')
  const passphraseFile = stringFlag(context, 'new-passphrase')
  const label = stringFlag(context, 'new-token-key')
  if (label !== undefined) return toTokenSource(findBackend(context, config), label)
  if (path !== undefined) {
    const exists = await access(path).then(
      () => true,
      () => false,
    )
    const { createMasterKeyFile } = await import('../../store/master-key.ts')
    if (!exists) await createMasterKeyFile(path)
    return { kind: 'file', path }
  }
  const text = (await readPrivateFile(passphraseFile ?? '')).toString('utf8')
  const [line = ''] = text.split(/\r?\n/)
  if (line === '') throw new UsageError('INPUT_INVALID', 'the passphrase is empty')
  return { kind: 'passphrase', passphrase: new Secret(line) }
}

/**
 * Finds the backend that --backend names or, without the flag, the only configured backend.
 * @throws UsageError
 */
function findBackend(context: Context, { backends }: Config): Config['backends'][number] {
  const name = stringFlag(context, 'backend')
  const [found, ...others] = backends.filter((one) => name === undefined || one.name === name)
  if (found !== undefined && others.length === 0) return found
  const names = backends.map((one) => one.name).join(', ')
  throw new UsageError('USAGE', `--backend: expected one of: ${names === '' ? 'none' : names}`)
}

async function readEscrow(context: Context): Promise<MasterKeySource | undefined> {
  const path = stringFlag(context, 'escrow')
  const key = await readRecoveryKey(context)
  if ((path === undefined) !== (key === undefined)) {
    throw new UsageError(
      'USAGE',
      '--escrow requires --recovery-key or --recovery-parts, and each of these requires --escrow',
    )
  }
  if (path === undefined || key === undefined) return undefined
  const { createEscrowSource } = await import('../../store/custody.ts')
  const escrow = parseEscrow(path, await readFile(path, 'utf8'))
  return createEscrowSource(escrow, key)
}

function parseEscrow(path: string, text: string): Escrow {
  try {
    const escrow = JSON.parse(text) as Partial<Escrow>
    if (escrow.format === 'latchkey-escrow' && typeof escrow.wrapped === 'string') {
      return escrow as Escrow
    }
  } catch {
    // The error is reported below.
  }
  throw new UsageError('INPUT_INVALID', `${path} is not an escrow file`)
}

async function parseKey(path: string, parse: typeof createPublicKey) {
  const pem = await readFile(path)
  try {
    return parse(pem)
  } catch (cause) {
    throw new UsageError('INPUT_INVALID', `${path}: expected a public key in PEM`, { cause })
  }
}

/** Ignores the configured master key, which may be lost. */
function toEscrowed({ store }: Config, masterKey: MasterKeySource) {
  return { ...store, masterKey, clock: systemClock }
}
