/** `latchkey config …` */
// SPDX-License-Identifier: Apache-2.0
import { describeAsJsonSchema } from '../../config/describe.ts'
import { CONFIG_FLAG, configPath, loadContextConfig, type Command } from '../../terminal/command.ts'

export const configCheck: Command = {
  flags: CONFIG_FLAG,
  examples: ['latchkey config check --config latchkey.yaml', 'latchkey config check --json'],
  async run(context) {
    const config = await loadContextConfig(context)
    const keyStores = config.keyStores.map(({ name, prefix }) => ({
      name,
      uriPath: `${prefix}/kms/xks/v1`,
    }))
    const lines = keyStores.map(({ name, uriPath }) => `  ${name}: ${uriPath}`)
    context.output.result([`${configPath(context)} is valid. Key stores:`, ...lines].join('\n'), {
      valid: true,
      keyStores,
    })
  },
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
