/** Implements `latchkey version`. */
// SPDX-License-Identifier: Apache-2.0
import { VERSION as latchkey } from '../../openapi/document.gen.ts'
import type { Command } from '../../terminal/command.ts'

export const version: Command = {
  flags: {},
  examples: ['latchkey version', 'latchkey version --json'],
  run({ output }) {
    output.result(`latchkey ${latchkey}, XKS Proxy API 1.0.3, Node.js ${process.version}`, {
      latchkey,
      xksProxyApi: '1.0.3',
      node: process.version,
    })
    return Promise.resolve()
  },
}
