/** `latchkey version` */
// SPDX-License-Identifier: Apache-2.0
import { createApiSchemas } from '../../openapi/schemas.ts'
import type { Command } from '../command.ts'

export const version: Command = {
  name: 'version',
  summary: 'Print the version',
  flags: {},
  examples: ['latchkey version', 'latchkey version --json'],
  run({ output }) {
    const { version: latchkey } = createApiSchemas()
    output.result(`latchkey ${latchkey}, XKS Proxy API 1.0.3, Node.js ${process.version}`, {
      latchkey,
      xksProxyApi: '1.0.3',
      node: process.version,
    })
    return Promise.resolve()
  },
}
