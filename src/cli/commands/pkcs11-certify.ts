/** Implements `latchkey pkcs11 certify`. */
// SPDX-License-Identifier: Apache-2.0
import { LatchkeyError } from '../../core/errors.ts'
import { VERSION } from '../../openapi/document.gen.ts'
import {
  BACKEND_FLAG,
  CONFIG_FLAG,
  type Command,
  type Context,
  findBackend,
  loadContextConfig,
  stringFlag,
  UsageError,
} from '../../terminal/command.ts'
import { countFlag } from '../../terminal/flags/time.ts'

export const pkcs11Certify: Command = {
  flags: {
    ...BACKEND_FLAG,
    token: {
      type: 'string',
      value: 'LABEL',
      description: 'Label of the token to test (default: the first token of the backend).',
    },
    duration: {
      type: 'string',
      value: 'SECONDS',
      description: 'Duration of each measurement, in seconds (default: 5).',
    },
    sessions: {
      type: 'string',
      value: 'N',
      description: 'Maximum number of sessions to measure with (default: 4).',
    },
    'remove-leftovers': {
      type: 'boolean',
      description:
        'Destroy the keys left behind by runs that were killed. Their labels begin with latchkey-certify-.',
    },
    ...CONFIG_FLAG,
  },
  examples: [
    'latchkey pkcs11 certify > report.md',
    'latchkey pkcs11 certify --backend hsm --sessions 16 --json',
  ],
  async run(context) {
    const backend = findBackend(context, await loadContextConfig(context))
    const { certify } = await import('../../tools/certify/certify.ts')
    const { renderReport } = await import('../../tools/certify/report.ts')
    const seconds = countFlag(context, 'duration', { otherwise: 5, least: 1, most: 3600 })
    const note = (text: string) => {
      context.output.note(text)
    }
    const report = await untilSignal(note, (signal) =>
      certify(
        {
          config: { ...backend, tokens: [chooseToken(context, backend.tokens)] },
          version: VERSION,
          durationMs: seconds * 1000,
          sessions: countFlag(context, 'sessions', { otherwise: 4, least: 1, most: 64 }),
          removesLeftovers: context.flags['remove-leftovers'] === true,
        },
        signal,
        note,
      ),
    )
    context.output.result(renderReport(report), report)
    if (report.hasPassed) return
    throw new CertifyError(
      'CERTIFY_FAILED',
      'the token failed certification; see the report for the reasons',
    )
  },
}

class CertifyError extends LatchkeyError<'CERTIFY_FAILED' | 'CERTIFY_INTERRUPTED'> {
  override readonly name = 'CertifyError'
}

/** @throws UsageError */
function chooseToken<Token extends { readonly label?: string | undefined }>(
  context: Context,
  tokens: readonly Token[],
): Token {
  const label = stringFlag(context, 'token')
  const found = label === undefined ? tokens[0] : tokens.find((token) => token.label === label)
  if (found !== undefined) return found
  const known = tokens.flatMap((token) => token.label ?? []).join(', ')
  throw new UsageError('USAGE', `the backend has no token ${String(label)}; configured: ${known}`)
}

/**
 * Aborts on the first SIGINT or SIGTERM, so that the keys on the token are destroyed before the
 * process ends.
 */
async function untilSignal<T>(
  note: (text: string) => void,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController()
  const abort = () => {
    note('interrupted; finishing the current test')
    controller.abort(
      new CertifyError('CERTIFY_INTERRUPTED', 'interrupted; the test keys were destroyed'),
    )
  }
  const signals = ['SIGINT', 'SIGTERM'] as const
  for (const signal of signals) process.on(signal, abort)
  try {
    return await work(controller.signal)
  } finally {
    for (const signal of signals) process.off(signal, abort)
  }
}
