/**
 * Runs `latchkey serve` as a whole: one process, or a primary with workers that share its ports.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { Cleanup } from '../core/cleanup.ts'
import { systemClock as clock } from '../core/clock.ts'
import { startAdminOf, type RunningAdmin } from './admin.ts'
import { startControlLog } from './control-log.ts'
import { serveMetrics, warnOfNode } from './observability.ts'
import { startServer, type RunningServer, type ServerOptions } from './server.ts'
import type { WorkerFacts, WorkerStart } from './worker.ts'
import type { Config } from '../config/config.ts'
import { packConfig } from '../config/transfer.ts'
import { VERSION } from '../openapi/document.gen.ts'
import { createLog } from '../observability/log.ts'
import { takeSnapshot, toText, type MetricsSnapshot } from '../observability/metrics/registry.ts'
import { ofWitnesses } from '../observability/metrics/audit-states.ts'
import { createSupervisor, type Supervisor } from './workers/supervisor.ts'
import { setUpWorkers } from './workers/worker-process.ts'

/** The entire `latchkey serve`, whose processes are each a `RunningServer` of app/server.ts. */
export type RunningService = Pick<
  RunningServer,
  'xks' | 'ping' | 'admin' | 'metrics' | 'reloadCertificates' | 'apply' | 'logger' | 'stop'
>

/** Time in milliseconds, after the drain, to close the store and write the last log lines. */
const STOP_GRACE_MS = 5000
const CGROUP_LIMIT = '/sys/fs/cgroup/cpu.max'

/**
 * @throws the same errors as startServer; an error from a worker keeps its code, message and fields
 */
export function startService(config: Config, options: ServerOptions = {}): Promise<RunningService> {
  const count = config.workers === 'auto' ? countCores() : config.workers
  return count === 1 ? startServer(config, options) : startWorkers(config, count, options)
}

async function startWorkers(
  config: Config,
  count: number,
  options: ServerOptions,
): Promise<RunningService> {
  const { drain, maxConnections } = config.listener
  // The log lines of all workers go through this process. If each worker wrote to a shared pipe, a
  // line longer than PIPE_BUF = 4,096 bytes could be interrupted by another line, and a line with
  // three ARNs can be that long.
  const group = randomUUID()
  const log = createLog(config.logging, options.logFile ?? 1, {
    instanceId: group,
    version: VERSION,
  })
  const { logger } = log
  warnOfNode(logger)
  const pack = (whole: Config) =>
    packConfig({
      ...whole,
      listener: { ...whole.listener, maxConnections: Math.ceil(maxConnections / count) },
    })
  let packed = pack(config)
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
  setUpWorkers(new URL(`./worker.${extension}`, import.meta.url))
  const supervisor = createSupervisor({
    count,
    clock,
    toStart: (number): WorkerStart => ({ config: packed, number, group }),
    onLines: log.writeBlock,
    onStarted: (worker) => {
      logger.info('worker restarted', worker)
    },
    onEnded: ({ number, end, pauseMs }) => {
      logger.error('worker exited; restarting', { number, ...end, pauseMs })
    },
    onFailedStart: (number, error) => {
      logger.error('worker could not start', { number, err: error })
    },
    stopWithinMs: drain.delayMs + drain.timeoutMs + STOP_GRACE_MS,
  })
  process.on('exit', supervisor.kill)
  process.on('SIGUSR2', supervisor.passOn)
  const end = () => {
    process.off('exit', supervisor.kill)
    process.off('SIGUSR2', supervisor.passOn)
    return log.close()
  }
  // Ignore a worker that does not respond in time, as the metrics do.
  const isReady = async () => {
    const answers = await supervisor.askAll('ready')
    return answers.length > 0 && answers.every((one) => one === true)
  }
  const cleanup = new Cleanup()
  cleanup.add(end)
  let admin: RunningAdmin | undefined
  const witnesses = await startControlLog(config, logger, cleanup).catch(async (error: unknown) => {
    await cleanup.run()
    throw error
  })
  const metrics = async () => {
    const snapshots = (await supervisor.askAll('metrics')) as MetricsSnapshot[]
    return toText([...snapshots, await takeSnapshot(ofWitnesses(() => witnesses?.()))])
  }
  // Stop the admin listener near the end, so that operators can watch the drain.
  cleanup.add(() => admin?.stop())
  cleanup.add(supervisor.stop)
  let facts: WorkerFacts
  try {
    facts = (await supervisor.start()) as WorkerFacts
    const scrape = await serveMetrics(config, metrics, cleanup)
    logger.info('listening', { ...facts.facts, ...scrape, workers: count })
    admin = await startAdminOf(config, { log, metrics, isReady, served: supervisor })
  } catch (error) {
    await cleanup.run()
    throw error
  }
  return {
    xks: facts.xks,
    ...(facts.ping === undefined ? {} : { ping: facts.ping }),
    ...(admin === undefined ? {} : { admin: admin.address }),
    async reloadCertificates() {
      await Promise.all([supervisor.callAll('reload'), admin?.reloadCertificates()])
    },
    async apply(next) {
      const skipped = await applyToAll(supervisor, {
        ...{ next: pack(next), before: packed },
        use(config) {
          packed = config
        },
      })
      log.setLevel(next.logging.level)
      admin?.setCallers(next)
      return skipped
    },
    logger,
    metrics,
    stop: () => cleanup.run(),
  }
}

/**
 * Applies a configuration in every worker or in none: if a worker fails, all workers return to the
 * previous configuration. `use` sets the configuration for workers that start during the calls.
 * @returns the key stores that need a restart
 * @throws the first error, or an AggregateError if a worker cannot return to the previous
 * configuration
 */
export async function applyToAll<Packed>(
  supervisor: Pick<Supervisor, 'callAll'>,
  {
    next,
    before,
    use,
  }: { readonly next: Packed; readonly before: Packed; readonly use: (config: Packed) => void },
): Promise<readonly string[]> {
  use(next)
  try {
    const skipped = (await supervisor.callAll('apply', next)) as readonly (readonly string[])[]
    return [...new Set(skipped.flat())]
  } catch (error) {
    use(before)
    await supervisor.callAll('apply', before).catch((cause: unknown) => {
      throw new AggregateError(
        [error, cause],
        'some workers applied the new configuration and could not roll back; restart the server',
      )
    })
    throw error
  }
}

/**
 * Returns the number of cores that this process may use, given its CPU affinity and the limit of
 * its container (cgroup 2).
 */
function countCores(): number {
  const cores = availableParallelism()
  let limit: string
  try {
    limit = readFileSync(CGROUP_LIMIT, 'utf8')
  } catch {
    return cores // cgroup v2 is not available
  }
  const [quota, period] = limit.split(' ').map(Number)
  const granted = Math.ceil((quota ?? NaN) / (period ?? NaN))
  return granted >= 1 ? Math.min(cores, granted) : cores
}
