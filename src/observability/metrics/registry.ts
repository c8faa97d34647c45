/** Metrics in Prometheus's text format, for one process or for several combined. */
// SPDX-License-Identifier: Apache-2.0
import {
  AggregatorRegistry,
  type Metric,
  type MetricObjectWithValues,
  type MetricValue as PromValue,
  Registry,
  collectDefaultMetrics,
} from 'prom-client'
import { METRICS, type MetricName } from './catalogue.ts'
import type { MetricValue } from './request-metrics.ts'

/** Plain data that a worker sends to its primary. */
export type MetricsSnapshot = readonly unknown[]

export type Collectors = Readonly<Partial<Record<MetricName, () => readonly MetricValue[]>>>

export function value(number: number, labels: Record<string, string> = {}): MetricValue {
  return { value: number, labels }
}

export interface MetricsRegistry {
  /** Adds a source of metrics. Each metric has exactly one source. */
  add(collectors: Collectors): void
  snapshot(): Promise<MetricsSnapshot>
  text(): Promise<string>
}

export function createMetricsRegistry(): MetricsRegistry {
  const registry = new Registry()
  addProcessMetrics(registry)
  return openRegistry(registry)
}

/** Returns the values of the given metrics, without the process metrics. */
export function takeSnapshot(collectors: Collectors): Promise<MetricsSnapshot> {
  const registry = openRegistry(new Registry())
  registry.add(collectors)
  return registry.snapshot()
}

function addProcessMetrics(registry: Registry): void {
  collectDefaultMetrics({ register: registry })
  // promtool rejects gauges whose names end in _total. Each of the removed gauges is the sum of a
  // metric that is kept.
  for (const name of ['handles', 'requests', 'resources']) {
    registry.removeSingleMetric(`nodejs_active_${name}_total`)
  }
}

function openRegistry(registry: Registry): MetricsRegistry {
  return {
    add(collectors) {
      for (const [name, values] of Object.entries(collectors)) {
        const description = METRICS[name as MetricName]
        // The registry asks a metric only for its description and its values.
        const metric = {
          ...{ name, ...description },
          get: () => Promise.resolve({ name, ...description, values: values() }),
        }
        registry.registerMetric(metric as unknown as Metric)
      }
    },
    snapshot: () => registry.getMetricsAsJSON(),
    text: () => registry.metrics(),
  }
}

/** @param snapshots one per process; each metric's aggregator says how to combine them */
export function toText(snapshots: readonly MetricsSnapshot[]): Promise<string> {
  const typed = snapshots as MetricObjectWithValues<PromValue<string>>[][]
  return AggregatorRegistry.aggregate(typed).metrics()
}
