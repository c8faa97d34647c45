/** Implements `latchkey store …`: backups of the control store, and who can open it. */
// SPDX-License-Identifier: Apache-2.0
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { access, readFile } from 'node:fs/promises'
import type { RecoveryPlan } from '../../app/backups.ts'
import { toStoreOptions } from '../../app/store.ts'
import type { Config } from '../../config/config.ts'
import { systemClock } from '../../core/clock.ts'
import { Secret } from '../../core/secret.ts'
import { VERSION } from '../../openapi/document.gen.ts'
import type { Manifest } from '../../store/backup-file.ts'
import type { Escrow } from '../../store/custody.ts'
import type { MasterKeySource } from '../../store/master-key.ts'
import {
  type Command,
  CONFIG_FLAG,
  type Context,
  loadControlConfig,
  stringFlag,
  UsageError,
  YES_FLAG,
} from '../../terminal/command.ts'
import { readPrivateFile, writeNewFile } from '../../terminal/files.ts'
import { parseReason, REASON_FLAGS } from '../../terminal/flags/scope.ts'

/** Number of rows between two progress messages. */
const REMARK_EVERY = 50_000

function createProgress({ output }: Context): (rows: number) => void {
  let next = REMARK_EVERY
  return (rows) => {
    if (rows < next) return
    next += REMARK_EVERY
    output.note(`${String(rows)} rows`)
  }
}

export const storeBackup: Command = {
  operands: ['FILE'],
  flags: { ...CONFIG_FLAG },
  examples: ['latchkey store backup /backup/latchkey-2027-01-31.jsonl'],
  async run(context) {
    const path = operand(context)
    const { backUpStore } = await import('../../app/backups.ts')
    const onProgress = createProgress(context)
    const config = await loadControlConfig(context)
    const manifest = await backUpStore(config, path, { release: VERSION, onProgress })
    context.output.result(`backed up and verified: ${describe(manifest)}`, manifest)
  },
}

export const storeVerify: Command = {
  operands: ['FILE'],
  flags: { ...CONFIG_FLAG },
  examples: ['latchkey store verify /backup/latchkey-2027-01-31.jsonl'],
  async run(context) {
    const { verifyBackup } = await import('../../store/backup.ts')
    const options = await toStoreOptions(await loadControlConfig(context))
    const manifest = await verifyBackup(operand(context), options, createProgress(context))
    context.output.result(`good backup: ${describe(manifest)}`, manifest)
  },
}

export const storeRecover: Command = {
  operands: ['FILE'],
  flags: { ...REASON_FLAGS, ...YES_FLAG, ...CONFIG_FLAG },
  examples: [
    'latchkey store recover /backup/latchkey-2027-01-31.jsonl --reason "disk failed"',
    'latchkey store recover /backup/latchkey-2027-01-31.jsonl --reason "disk failed" --yes',
  ],
  async run(context) {
    const path = operand(context)
    const by = parseReason(context)
    const { planRecovery, recoverStore } = await import('../../app/backups.ts')
    const onProgress = createProgress(context)
    const config = await loadControlConfig(context)
    const plan = await planRecovery(config, path, onProgress)
    if (context.flags['yes'] !== true) {
      const text = `${toText(plan)}\nwould load it and let servers continue from it. Stop every process that uses the store, then add --yes.`
      context.output.result(text, { ...plan, done: false })
      return
    }
    const done = await recoverStore(config, path, { ...by, plan, onProgress })
    const kept = done.kept === undefined ? [] : [`the previous file is now ${done.kept}`]
    const end = `recovered; servers continue from epoch ${String(done.epoch)}`
    context.output.result([toText(plan), ...kept, end].join('\n'), { ...plan, ...done, done: true })
  },
}

export const storeCopy: Command = {
  flags: {
    'to-config': {
      type: 'string',
      value: 'FILE',
      description:
        'Configuration whose store is the target (required). It must have the same master key.',
    },
    ...CONFIG_FLAG,
  },
  examples: ['latchkey store copy --to-config latchkey-postgres.yaml'],
  async run(context) {
    const target = stringFlag(context, 'to-config')
    if (target === undefined) throw new UsageError('USAGE', 'expected --to-config FILE')
    const { copyStore } = await import('../../app/backups.ts')
    const config = await loadControlConfig(context)
    const { loadControlConfig: load } = await import('../../config/load.ts')
    const to = await load(target, context.environment)
    const draft = `${target}.copy-${String(process.pid)}`
    const manifest = await copyStore(config, to, draft, {
      release: VERSION,
      onProgress: createProgress(context),
    })
    context.output.result(`copied and verified: ${describe(manifest)}`, manifest)
  },
}

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
      description: 'File with a new passphrase as its first line; - reads standard input.',
    },
    escrow: {
      type: 'string',
      value: 'FILE',
      description: 'Escrow to open the store with, when the master key is lost.',
    },
    'recovery-key': {
      type: 'string',
      value: 'FILE',
      description: 'PEM file with the private key of the escrow.',
    },
    ...CONFIG_FLAG,
  },
  examples: [
    'latchkey store rekey --new-master-key /etc/latchkey/master-2.key',
    'latchkey store rekey --escrow escrow.json --recovery-key recovery.pem --new-master-key master-2.key',
  ],
  async run(context) {
    const config = await loadControlConfig(context)
    const next = await readNewSource(context)
    const { rewrapStore } = await import('../../store/custody.ts')
    const masterKey = await readEscrow(context)
    const options =
      masterKey === undefined ? await toStoreOptions(config) : toEscrowed(config, masterKey)
    await rewrapStore({ ...options, connections: 'one' }, next)
    context.output.result(
      'the store has the new master key: set store.masterKey to it before the next start. Running servers continue. Backups made before still need the old one.',
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
      description: 'RSA public key of the recovery, of at least 3,072 bits (required).',
    },
    ...CONFIG_FLAG,
  },
  examples: ['latchkey store escrow escrow.json --to recovery-public.pem'],
  async run(context) {
    const path = operand(context)
    const to = stringFlag(context, 'to')
    if (to === undefined) throw new UsageError('USAGE', 'expected --to PEM')
    const { escrowStoreKey } = await import('../../store/custody.ts')
    const options = await toStoreOptions(await loadControlConfig(context))
    const recoveryKey = await parseKey(to, createPublicKey)
    const escrow = await escrowStoreKey({ ...options, connections: 'one' }, recoveryKey)
    await writeNewFile(path, `${JSON.stringify(escrow)}\n`, 0o600)
    const text = `the key of store ${escrow.storeId} is in ${path}, for the recovery key ${escrow.recoveryKey}`
    context.output.result(text, { file: path, ...escrow })
  },
}

function operand({ operands: [path = ''] }: Context): string {
  if (path === '') throw new UsageError('USAGE', 'expected FILE')
  return path
}

function describe({ storeId, epoch, createdAt, rows }: Manifest): string {
  const count = (name: string) => String(rows[name] ?? 0)
  return `store ${storeId} at epoch ${String(epoch)}, ${new Date(createdAt).toISOString()}; ${count('external_keys')} keys, ${count('key_versions')} versions, ${count('credentials')} credentials, ${count('switches')} switches`
}

function toText({ manifest, seenEpoch, losses, unreadable, isOccupied }: RecoveryPlan): string {
  const lines = [`good backup: ${describe(manifest)}`]
  if (seenEpoch === undefined) lines.push('this host has no high-water mark of that store')
  else if (seenEpoch > manifest.epoch) {
    const missing = String(seenEpoch - manifest.epoch)
    lines.push(
      `this host has seen epoch ${String(seenEpoch)}: at least ${missing} changes are not in the backup`,
    )
  }
  if (unreadable !== undefined) lines.push(`the existing store cannot be read: ${unreadable}`)
  if (!isOccupied || losses === undefined) {
    lines.push('no store to compare with: repeat every kill, revocation and rotation made since')
    return lines.join('\n')
  }
  const named = (what: string, names: readonly string[]) =>
    names.length === 0 ? [] : [`${what}: ${names.join(', ')}`]
  const found = [
    ...named('kills that end', losses.kills),
    ...named("dead man's switches that end", losses.deadManSwitches),
    ...named('revoked credentials that are valid again', losses.revocations),
    ...named('disabled keys that are enabled again', losses.disabledKeys),
    ...named('key versions that are lost, with all that they encrypted', losses.versions),
    ...named('destroyed key versions that are back', losses.destroyedVersions),
    ...losses.events.map(
      ({ at, kind, operator }) =>
        `lost event: ${new Date(at).toISOString()} ${kind} by ${operator}`,
    ),
  ]
  return [...lines, ...(found.length === 0 ? ['nothing is lost'] : found)].join('\n')
}

async function readNewSource(context: Context): Promise<MasterKeySource> {
  const path = stringFlag(context, 'new-master-key')
  const passphraseFile = stringFlag(context, 'new-passphrase')
  if ((path === undefined) === (passphraseFile === undefined)) {
    throw new UsageError('USAGE', 'expected either --new-master-key or --new-passphrase')
  }
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

async function readEscrow(context: Context): Promise<MasterKeySource | undefined> {
  const path = stringFlag(context, 'escrow')
  const keyFile = stringFlag(context, 'recovery-key')
  if ((path === undefined) !== (keyFile === undefined)) {
    throw new UsageError('USAGE', '--escrow and --recovery-key belong together')
  }
  if (path === undefined || keyFile === undefined) return undefined
  const { createEscrowSource } = await import('../../store/custody.ts')
  const escrow = parseEscrow(path, await readFile(path, 'utf8'))
  const pem = await readPrivateFile(keyFile)
  const key = (() => {
    try {
      return createPrivateKey(pem)
    } catch (cause) {
      throw new UsageError('INPUT_INVALID', `${keyFile} is not a private key in PEM`, { cause })
    }
  })()
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
  throw new UsageError('INPUT_INVALID', `${path} is not an escrow of a store`)
}

async function parseKey(path: string, parse: typeof createPublicKey) {
  const pem = await readFile(path)
  try {
    return parse(pem)
  } catch (cause) {
    throw new UsageError('INPUT_INVALID', `${path} is not a public key in PEM`, { cause })
  }
}

/** Reads nothing of the configured master key, which may be lost. */
function toEscrowed({ store }: Config, masterKey: MasterKeySource) {
  return { ...store, masterKey, clock: systemClock }
}
