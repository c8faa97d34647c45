/** Implements `latchkey bench`. */
// SPDX-License-Identifier: Apache-2.0
import { type Command, type Context, UsageError, stringFlag } from '../../terminal/command.ts'
import { REMOTE_FLAGS, type Remote, loadRemote, requireKeyId } from '../../terminal/flags/remote.ts'
import { countFlag } from '../../terminal/flags/time.ts'
import type { Output } from '../../terminal/output.ts'
import {
  CONNECTION_KINDS,
  type ConnectionKind,
  openConnections,
} from '../../tools/bench/connections.ts'
import {
  KMS_MIX,
  type RequestSource,
  createRequestSource,
  parseMix,
} from '../../tools/bench/mix.ts'
import {
  type LoadResult,
  type Search,
  findHighestRate,
  runOpenLoop,
} from '../../tools/bench/open-loop.ts'

/** KMS's default quota for a custom key store, in requests per second. */
const KMS_QUOTA = 1800
/** A request that takes longer counts as an error; KMS waits 250 ms. */
const TIMEOUT_MS = 5000
const SEARCH = { startRate: 200, maxRate: 102_400, precision: 0.05 } as const

export const bench: Command = {
  flags: {
    ...REMOTE_FLAGS,
    rate: {
      type: 'string',
      short: 'r',
      value: 'RATES',
      description: `Rates in requests per second, such as 500,1000 (default: ${String(KMS_QUOTA)}, the quota of KMS).`,
    },
    find: {
      type: 'boolean',
      description:
        'Find the highest rate with a p99 under 250 ms and no errors, instead of running at fixed rates.',
    },
    duration: {
      type: 'string',
      value: 'SECONDS',
      description: 'How long to run at each rate, in seconds (default: 10).',
    },
    connections: {
      type: 'string',
      value: 'N',
      description: 'Maximum number of requests in flight (default: 32).',
    },
    lanes: {
      type: 'string',
      value: 'KIND',
      description: `Kind of connection: kept (persistent), new (one for each request) or http2 (default: kept).`,
    },
    mix: {
      type: 'string',
      value: 'MIX',
      description: `Operations and their weights (default: ${Object.entries(KMS_MIX)
        .map(([name, weight]) => `${name}=${String(weight)}`)
        .join()}).`,
    },
  },
  examples: [
    'latchkey bench -e https://xks.example.com --credential kms-console.json -k payroll-2026 --rate 500,1800 --duration 60',
    'latchkey bench -e https://xks.example.com --credential kms-console.json -k payroll-2026 --find --json',
  ],
  async run(context) {
    const remote = await loadRemote(context)
    const plan = parsePlan(context)
    const mix = stringFlag(context, 'mix')
    const parsed = mix === undefined ? KMS_MIX : parseMix(mix)
    const source = await createRequestSource(remote, requireKeyId(remote), parsed)
    const run = (rate: number) => runAt(context, remote, source, { ...plan, rate })
    if (context.flags['find'] === true) {
      const search = await findHighestRate(SEARCH, run)
      context.output.result(renderSearch(search, context.output), {
        mix: parsed,
        ...plan,
        ...search,
      })
      return
    }
    const results: LoadResult[] = []
    for (const rate of plan.rates) results.push(await run(rate))
    context.output.result(renderResults(results, context.output), { mix: parsed, ...plan, results })
  },
}

interface Plan {
  readonly rates: readonly number[]
  readonly durationMs: number
  readonly connections: number
  readonly lanes: ConnectionKind
}

function parsePlan(context: Context): Plan {
  const lanes = stringFlag(context, 'lanes') ?? 'kept'
  const kind = CONNECTION_KINDS.find((one) => one === lanes)
  if (kind === undefined)
    throw new UsageError('USAGE', `--lanes: expected one of ${CONNECTION_KINDS.join(', ')}`)
  const rates = (stringFlag(context, 'rate') ?? String(KMS_QUOTA)).split(',').map(Number)
  if (!rates.every((rate) => rate > 0 && rate <= SEARCH.maxRate)) {
    throw new UsageError(
      'USAGE',
      `--rate: expected numbers up to ${String(SEARCH.maxRate)}, such as 500,1000`,
    )
  }
  return {
    rates,
    durationMs: countFlag(context, 'duration', { otherwise: 10, least: 1, most: 86_400 }) * 1000,
    connections: countFlag(context, 'connections', { otherwise: 32, least: 1, most: 10_000 }),
    lanes: kind,
  }
}

async function runAt(
  context: Context,
  remote: Remote,
  source: RequestSource,
  plan: Plan & { readonly rate: number },
): Promise<LoadResult> {
  const { rate, durationMs, connections: count, lanes: kind } = plan
  const connections = await openConnections(remote.endpoint, {
    kind,
    count,
    timeoutMs: TIMEOUT_MS,
  })
  try {
    // Sends one request on each connection, because Latchkey and other proxies soon close unused
    // connections.
    if (kind !== 'new') await Promise.all(connections.map((one) => one.send(source.next().request)))
    const result = await runOpenLoop({
      connections,
      source,
      rate,
      durationMs,
      onProgress: ({ elapsedMs, answered, waiting, p50, p99 }) => {
        context.output.progress(
          `${String(rate)}/s for ${(elapsedMs / 1000).toFixed(0)} of ${String(durationMs / 1000)} s: ` +
            `${String(answered)} answered, ${String(waiting)} waiting, p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms`,
        )
      },
    })
    warnOfClient(context, result)
    return result
  } finally {
    for (const one of connections) one.close()
  }
}

function warnOfClient(context: Context, { rate, isClientLimited, clientLagMs }: LoadResult): void {
  if (!isClientLimited) return
  context.output.note(
    `at ${String(rate)}/s, this client lagged by ${clientLagMs.p99.toFixed(1)} ms at p99, so the figures describe the client, not the proxy`,
  )
}

function renderResults(results: readonly LoadResult[], output: Output): string {
  const ms = (value: number) => value.toFixed(2)
  const headings = ['rate/s', '200/s', 'p50', 'p90', 'p99', 'p99.9', 'max', 'lag p99', 'errors']
  const rows = results.map(({ rate, achieved, latencyMs: one, clientLagMs, errors, unsent }) => [
    String(rate),
    achieved.toFixed(1),
    ...[one.p50, one.p90, one.p99, one.p999, one.max, clientLagMs.p99].map(ms),
    [
      ...Object.entries(errors).map(([name, count]) => `${String(count)} x ${name}`),
      ...(unsent === 0 ? [] : [`${String(unsent)} not sent`]),
    ].join(', ') || '0',
  ])
  const table = output.table(headings, rows, { right: [0, 1, 2, 3, 4, 5, 6, 7] })
  return output.fold(
    `${table}\n\nlatency in milliseconds, from when a request was due until its response; KMS gives up after 250 ms`,
  )
}

function renderSearch(search: Search, output: Output): string {
  const sorted = [...search.results].sort((a, b) => a.rate - b.rate)
  const limit = { proxy: 'the proxy', client: 'this client', maximum: 'the highest rate tried' }
  return [
    renderResults(sorted, output),
    '',
    output.fold(
      `highest rate with a p99 under 250 ms and no errors: ${String(search.highest)}/s (limited by ${limit[search.limitedBy]})`,
    ),
  ].join('\n')
}
