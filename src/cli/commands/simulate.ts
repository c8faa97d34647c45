/** Implements `latchkey simulate`. */
// SPDX-License-Identifier: Apache-2.0
import { openKillSwitch } from '../../app/kill-switch.ts'
import { systemClock } from '../../core/clock.ts'
import { type Scope, describeScope } from '../../core/scope.ts'
import {
  type KmsStandIn,
  type KmsStandInOptions,
  createKmsStandIn,
} from '../../kms/emulator/emulator.ts'
import { type CallReport, KMS_TIMEOUT_MS } from '../../kms/emulator/proxy-connection.ts'
import { CONFIG_FLAG, type Command, type Context, KEY_STORE_FLAG } from '../../terminal/command.ts'
import { durationFlag } from '../../terminal/flags/time.ts'
import { APPLICATION_NAMES, playApplications } from '../../tools/simulate/live.ts'
import {
  ScenarioEnded,
  SimulationError,
  type StepReport,
  createPaint,
  createScenarioRunner,
  describeTimes,
  summarize,
} from '../../tools/simulate/runner.ts'
import { STEPS, runScenario } from '../../tools/simulate/scenario.ts'
import { type Target, findTarget } from '../../tools/simulate/target.ts'
import { API_ROOT } from '../../xks/route.ts'

const REASON = {
  reason: 'latchkey simulate',
  operator: 'latchkey simulate',
  identity: 'os:simulate',
}
/** Lifetime of the vendor's cached data keys: long enough to show the delay after a kill. AWS's services keep them longer. */
const CACHE_MS = 2000
/** The switch expires after this time, in case the process is killed between kill and restore. */
const LIFTED_AFTER_MS = 600_000

export const simulate: Command = {
  flags: {
    demo: {
      type: 'string',
      value: 'DIR',
      description:
        'Folder that quickstart created (default: ./demo, unless a configuration file is found).',
    },
    'key-id': {
      type: 'string',
      short: 'k',
      value: 'KEY_ID',
      description: 'External key to use. With --config, the simulation kills only this key.',
    },
    endpoint: {
      type: 'string',
      short: 'e',
      value: 'URL',
      description:
        'Proxy to call, https://host:port (default: localhost with the configured port).',
    },
    ca: {
      type: 'string',
      value: 'FILE',
      description: 'PEM file of certificate authorities to trust, for a private CA.',
    },
    region: {
      type: 'string',
      value: 'REGION',
      description:
        'AWS region to simulate (default: the first one that the key store accepts, or us-east-1).',
    },
    timeout: {
      type: 'string',
      value: 'TIME',
      description: 'How long the emulated KMS waits for a response (default: 250ms, as in KMS).',
    },
    serve: {
      type: 'boolean',
      description:
        "After the steps, keep the emulated KMS and three applications running until Ctrl-C, and print the console's address.",
    },
    ...KEY_STORE_FLAG,
    ...CONFIG_FLAG,
  },
  examples: [
    'latchkey simulate',
    'latchkey simulate --serve',
    'latchkey simulate --demo demo --endpoint https://localhost:8443',
    'latchkey simulate --config /etc/latchkey/latchkey.yaml --key-id simulation',
  ],
  async run(context) {
    const timeoutMs = durationFlag(context, 'timeout', KMS_TIMEOUT_MS)
    const target = await findTarget(context)
    try {
      await tellAll(context, target, timeoutMs)
      if (context.flags['serve'] === true) await serve(context, target, timeoutMs)
    } finally {
      await target.release()
    }
  },
}

function openKms(
  target: Target,
  options: Pick<KmsStandInOptions, 'timeoutMs' | 'isProbe' | 'onCall'>,
): KmsStandIn {
  const { region, connectTo, caFile } = target
  const reach = { connectTo, ...(caFile === undefined ? {} : { caFile }) }
  const about = { clock: systemClock, region, accountId: '111122223333' }
  return createKmsStandIn({ ...about, ...options, reach: () => reach })
}

async function tellAll({ output }: Context, target: Target, timeoutMs: number): Promise<void> {
  const reports: CallReport[] = []
  const onCall = (report: CallReport) => reports.push(report)
  const kms = openKms(target, { timeoutMs, isProbe: true, onCall })
  const story = createScenarioRunner(output)
  const { host, connectTo, keyStore } = target
  const uri = `https://${host}:${String(connectTo.port)}${keyStore.prefix}${API_ROOT}`
  output.line(`latchkey simulate against ${uri}`)
  try {
    await tell(kms, target, story)
  } finally {
    await kms.close()
  }
  const paint = createPaint(output.isTerminal)
  const failed = story.steps.filter(({ ok }) => !ok).length
  const times = summarize(reports)
  output.line('')
  for (const line of describeTimes(times, timeoutMs)) output.line(paint('2', line))
  const isWhole = story.steps.length === STEPS
  const verdict = toVerdict(story.steps, isWhole)
  output.result(paint(failed === 0 && isWhole ? '1;32' : '1;31', verdict), {
    endpoint: uri,
    scope: target.scope,
    steps: story.steps,
    passed: story.steps.length - failed,
    failed,
    timesMs: times,
  })
  if (failed > 0 || !isWhole) {
    throw new SimulationError('SIMULATION_FAILED', verdict, {
      hint: 'check that the server runs with this configuration and at this endpoint',
    })
  }
}

/**
 * Simulates applications until a signal arrives. In a demo, they count as real applications.
 * Elsewhere, their requests stay marked, so that reports omit them.
 */
async function serve({ output }: Context, target: Target, timeoutMs: number): Promise<void> {
  const kms = openKms(target, { timeoutMs, isProbe: target.tokenFile === undefined })
  const stopping = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      stopping.abort()
    })
  }
  for (const line of describeConsole(target)) output.line(line)
  try {
    await playApplications({
      ...{ kms, proxy: toProxy(target), xksKeyId: target.xksKeyId, signal: stopping.signal },
      onChange: output.line,
    })
  } finally {
    await kms.close()
  }
}

function describeConsole({ config: { admin }, tokenFile }: Target): readonly string[] {
  const scheme = admin?.tls === undefined ? 'http' : 'https'
  const port = String(admin?.port)
  return [
    '',
    `Still running: ${APPLICATION_NAMES.join(', ')}. Watch them in the console, and stop them there:`,
    '',
    ...(admin === undefined
      ? ['There is no console: the configuration has no admin section.']
      : [
          `console  ${admin.port === 0 ? 'the address that the server prints' : `${scheme}://localhost:${port}/console`}`,
        ]),
    ...(admin === undefined || tokenFile === undefined ? [] : [`token    ${tokenFile}`]),
    '',
    'Press Ctrl-C to stop.',
  ]
}

/** Runs the scenario, and restores what it killed even if a step throws. */
async function tell(
  kms: KmsStandIn,
  target: Target,
  story: ReturnType<typeof createScenarioRunner>,
): Promise<void> {
  const control = await openKillSwitch(target.config)
  let switchId: string | undefined
  const restore = async () => {
    if (switchId === undefined) throw new TypeError('nothing was killed')
    const outcome = await control.restore({ target: { id: switchId }, ...REASON })
    if (outcome.state !== 'restored') {
      throw new SimulationError(
        'RESTORE_WAITS',
        `the restore of ${switchId} is waiting for approval`,
        {
          hint: `latchkey restore approve ${outcome.request.id} --yes`,
        },
      )
    }
    switchId = undefined
    return `lifted at epoch ${String(outcome.epoch)}`
  }
  const kill = async () => {
    const until = systemClock.now() + LIFTED_AFTER_MS
    const order = { scope: target.scope, direction: 'both', until, ...REASON } as const
    const written = await control.kill(order)
    // A switch that was already in force before the scenario is left alone.
    if (written.isNew) switchId = written.switch?.id
    const { instances, elapsedMs } = await control.wait(written)
    const count = instances.length
    return `revoked in ${elapsedMs.toFixed(0)} ms: ${String(count)} instance${count === 1 ? '' : 's'} can no longer serve requests`
  }
  const interruption = watchInterrupts()
  try {
    const told = runScenario(story, {
      kms,
      proxy: toProxy(target),
      xksKeyId: target.xksKeyId,
      cacheMs: CACHE_MS,
      scope: toCommand(target.scope),
      kill,
      restore,
    })
    await Promise.race([told, interruption.promise])
  } catch (error) {
    if (!(error instanceof ScenarioEnded)) throw error
  } finally {
    interruption.stop()
    story.end()
    try {
      if (switchId !== undefined) await restore()
    } finally {
      await control.close()
    }
  }
}

/** Ctrl-C ends the scenario but not the cleanup after it. */
function watchInterrupts() {
  let interrupt: () => void = () => undefined
  const promise = new Promise<never>((_resolve, reject) => {
    interrupt = () => {
      reject(new ScenarioEnded('interrupted'))
    }
  })
  // Prevents an unhandled rejection once nothing awaits the promise any more.
  promise.catch(() => undefined)
  const signals = ['SIGINT', 'SIGTERM'] as const
  for (const signal of signals) process.once(signal, interrupt)
  const stop = () => {
    for (const signal of signals) process.removeListener(signal, interrupt)
  }
  return { promise, stop }
}

function toProxy({ host, keyStore, credential }: Target) {
  return {
    connectivity: 'PUBLIC_ENDPOINT',
    uriEndpoint: `https://${host}`,
    uriPath: `${keyStore.prefix}${API_ROOT}`,
    accessKeyId: credential.accessKeyId,
    rawSecretAccessKey: credential.secretAccessKey,
  } as const
}

function toCommand(scope: Scope): string {
  if (scope.kind === 'key-store') return `latchkey kill --key-store ${scope.keyStore}`
  if (scope.kind === 'key') return `latchkey kill --key ${scope.keyId}`
  return `latchkey kill: ${describeScope(scope)}`
}

function toVerdict(steps: readonly StepReport[], isWhole: boolean): string {
  const bad = steps.filter(({ ok }) => !ok).length
  if (bad === 0 && isWhole) return `All ${String(STEPS)} steps passed.`
  const missing = STEPS - steps.length
  const rest = missing === 0 ? '' : `, ${String(missing)} were not reached`
  return `${String(bad)} of ${String(STEPS)} steps failed${rest}.`
}
