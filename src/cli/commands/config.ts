/** Implements `latchkey config …`. */
// SPDX-License-Identifier: Apache-2.0
import { describeAsJsonSchema } from '../../config/describe.ts'
import { ConfigError, type Fault } from '../../config/faults.ts'
import {
  CONFIG_FLAG,
  configPath,
  loadContextConfig,
  type Command,
  type Context,
} from '../../terminal/command.ts'

export const configCheck: Command = {
  flags: {
    ...CONFIG_FLAG,
    offline: {
      type: 'boolean',
      description:
        'Check only the file itself, not the certificates, secrets, folders and ports that it names.',
    },
  },
  examples: [
    'latchkey config check --config latchkey.yaml',
    'latchkey config check --offline --json   # on another host',
  ],
  async run(context) {
    const file = configPath(context)
    const isOffline = context.flags['offline'] === true
    const { keyStores: found, warnings } = isOffline
      ? await checkFile(file, context.environment)
      : await checkHost(context)
    const keyStores = found.map(({ name, prefix }) => ({ name, uriPath: `${prefix}/kms/xks/v1` }))
    const lines = keyStores.map(({ name, uriPath }) => `  ${name}: ${uriPath}`)
    context.output.result(
      [
        `${file} is valid. Key stores:`,
        ...lines,
        ...warnings.map(({ path, message }) => `warning: ${path}: ${message}`),
      ].join('\n'),
      { valid: true, keyStores, warnings },
    )
  },
}

async function checkFile(file: string, environment: NodeJS.ProcessEnv) {
  const { checkConfigFile } = await import('../../config/load.ts')
  const warnings: readonly Fault[] = []
  return { keyStores: (await checkConfigFile(file, environment)).keyStores, warnings }
}

/** @throws ConfigError that lists every error that would stop `serve` on this host */
async function checkHost(context: Context) {
  const { keyStores, ...config } = await loadContextConfig(context)
  const { checkConfiguration } = await import('../../app/configuration-check.ts')
  const { faults, warnings } = await checkConfiguration({ ...config, keyStores })
  if (faults.length > 0) throw new ConfigError(configPath(context), faults)
  return { keyStores, warnings }
}

export const configSchema: Command = {
  flags: {},
  examples: ['latchkey config schema > latchkey.schema.json'],
  run({ output }) {
    const text = describeAsJsonSchema()
    output.result(text, JSON.parse(text))
    return Promise.resolve()
  },
}
