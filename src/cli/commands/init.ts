/** Implements `latchkey init`. */
// SPDX-License-Identifier: Apache-2.0
import { access, mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { ensureStore, initializeStore, type Owner } from '../../app/administration.ts'
import type { Config, MasterKeyConfig } from '../../config/config.ts'
import { loadConfig } from '../../config/load.ts'
import {
  type Command,
  configPath,
  type Context,
  stringFlag,
  SYSTEM_CONFIG,
  UsageError,
} from '../../terminal/command.ts'
import { writeNewFile } from '../../terminal/files.ts'
import { checkServiceUser, giveState, hasUnit, prepareSystem } from '../../tools/install/system.ts'
import { renderFirstConfig } from '../../tools/demo/config-template.ts'

export const init: Command = {
  flags: {
    dir: {
      type: 'string',
      value: 'DIR',
      description:
        'Folder for the files (default: the folder of the configuration file that other commands use, else the current folder).',
    },
    system: {
      type: 'boolean',
      description:
        'Set up this host: the user latchkey, /etc/latchkey, /var/lib/latchkey and the systemd unit. Requires root.',
    },
    owner: {
      type: 'string',
      value: 'ROLE',
      description:
        'PostgreSQL role to connect as and make the owner of the tables. The configured role then gets only the privileges needed to serve (default: the configured role, which then owns the tables).',
    },
    'owner-password-file': {
      type: 'string',
      value: 'FILE',
      description: 'File with the password of the --owner role (default: none).',
    },
    'if-absent': {
      type: 'boolean',
      description: 'Succeed if a store already exists and the master key opens it.',
    },
  },
  examples: [
    'latchkey init --dir /etc/latchkey',
    'sudo latchkey init --system',
    'latchkey init --if-absent --dir /etc/latchkey   # for a job that runs at each deployment',
    'latchkey init --owner latchkey_owner --owner-password-file owner-password',
    'latchkey init && latchkey keys create my-key',
  ],
  async run({ output, ...context }) {
    const dir = stringFlag({ output, ...context }, 'dir')
    const system = context.flags['system'] === true
    if (system && dir !== undefined) {
      throw new UsageError(
        'USAGE',
        '--dir cannot be combined with --system, which has its own folders',
      )
    }
    const found =
      dir === undefined ? configPath({ output, ...context }) : join(dir, 'latchkey.yaml')
    const file = system ? SYSTEM_CONFIG : found
    if (!system) checkServiceUser(file, { uid: process.getuid?.(), hasUnit: hasUnit() })
    if (system) await prepareSystem()
    else if (!(await exists(file))) {
      await mkdir(dirname(file), { recursive: true, mode: 0o700 })
      await writeNewFile(file, renderFirstConfig(), 0o644)
    }
    const config = await loadConfig(file, context.environment)
    const owner = parseOwner({ output, ...context }, config)
    let isNew = true
    if (context.flags['if-absent'] === true) isNew = await ensureStore(config, owner)
    else await initializeStore(config, owner && { owner })
    if (system) await giveState()
    const { masterKey, postgres } = config.store
    const path = config.store.path ?? `${postgres?.host ?? ''}/${postgres?.database ?? ''}`
    const master = describeMasterKey(masterKey)
    const result = {
      config: file,
      store: path,
      masterKey: masterKey.kind === 'file' ? masterKey.path : null,
    }
    if (!isNew) {
      output.result(`store          ${path}  (already existed; the master key opens it)`, result)
      return
    }
    output.result(
      [
        `configuration  ${file}`,
        `store          ${path}`,
        `master key     ${master}  (back it up separately from the store)`,
        '',
        'next:',
        '  put the server certificate at the configured path',
        `  latchkey keys create KEY_ID --config ${file}`,
        `  latchkey credentials create --output kms-console.json --config ${file}`,
        system ? '  systemctl enable --now latchkey' : `  latchkey serve --config ${file}`,
      ].join('\n'),
      result,
    )
  },
}

function parseOwner(context: Context, { store }: Config): Owner | undefined {
  const user = stringFlag(context, 'owner')
  const passwordFile = stringFlag(context, 'owner-password-file')
  if (user === undefined && passwordFile === undefined) return undefined
  if (user === undefined || store.postgres === undefined || store.postgres.user === user) {
    throw new UsageError(
      'USAGE',
      '--owner: expected store.postgres in the configuration, and a role other than its user',
    )
  }
  return { user, ...(passwordFile === undefined ? {} : { passwordFile }) }
}

function describeMasterKey(masterKey: MasterKeyConfig): string {
  if (masterKey.kind === 'file') return masterKey.path
  return masterKey.kind === 'passphrase'
    ? 'your passphrase'
    : `${JSON.stringify(masterKey.label)} on a token of ${masterKey.backend}`
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
