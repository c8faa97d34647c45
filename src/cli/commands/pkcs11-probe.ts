/** Implements `latchkey pkcs11 probe`. */
// SPDX-License-Identifier: Apache-2.0
import { type ProbeReport, probeBackend } from '../../app/administration.ts'
import {
  BACKEND_FLAG,
  CONFIG_FLAG,
  type Command,
  findBackend,
  loadContextConfig,
} from '../../terminal/command.ts'

export const pkcs11Probe: Command = {
  flags: { ...BACKEND_FLAG, ...CONFIG_FLAG },
  examples: ['latchkey pkcs11 probe', 'latchkey pkcs11 probe --backend hsm --json'],
  async run(context) {
    const backend = findBackend(context, await loadContextConfig(context))
    const report = await probeBackend(backend)
    context.output.result(render(backend.module, report), report)
  },
}

function render(module: string, { library, slots, tokens }: ProbeReport): string {
  const head = [
    `module   ${module}`,
    `library  ${library.manufacturer}, ${library.description} ${library.version}, Cryptoki ${library.cryptoki}`,
  ]
  const rows = slots.flatMap(({ slot, description, token, mechanisms, problem }) => [
    '',
    `slot ${String(slot)}  ${description}`,
    ...(token === undefined
      ? [`  ${problem ?? 'no token'}`]
      : [
          `  token       ${JSON.stringify(token.label)}, serial ${token.serial}`,
          `  product     ${token.manufacturer}, ${token.model}, firmware ${token.firmware}`,
          `  sessions    ${token.maxSessions === undefined ? 'no reported limit' : `at most ${String(token.maxSessions)}`}`,
          `  mechanisms  ${(mechanisms ?? []).join(', ') || 'none of the required mechanisms'}`,
        ]),
  ])
  return [...head, ...rows, ...tokens.flatMap(renderToken)].join('\n')
}

function renderToken(token: ProbeReport['tokens'][number]): readonly string[] {
  if (token.facts === undefined) return ['', `not logged in: ${token.problem ?? 'unknown'}`]
  const { facts, modes = [], keys = [], iv } = token
  return [
    '',
    `logged in to ${JSON.stringify(facts.label)}`,
    `  iv          ${iv ?? 'no IV mode works'}`,
    ...modes.map((mode) => `    ${mode.iv.padEnd(16)}  ${mode.outcome}`),
    `  AES-256 keys: ${String(keys.length)}`,
    ...keys.map((key) => {
      const usage = [key.canEncrypt ? 'encrypt' : '', key.canDecrypt ? 'decrypt' : '']
      const notes = [
        usage.filter((part) => part !== '').join(',') || 'no usage',
        key.isSensitive ? 'sensitive' : 'NOT SENSITIVE',
        key.isExtractable ? 'EXTRACTABLE' : 'not extractable',
        ...(key.problem === undefined ? [] : [`${key.problem.kind}: ${key.problem.reason}`]),
      ]
      return `    ${JSON.stringify(key.label)}  id ${key.id || '-'}  ${notes.join(', ')}`
    }),
  ]
}
