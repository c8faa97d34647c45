/** Metrics as text for Prometheus, of one process or of several together. */
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

/** What a worker hands to its primary: plain data. */
export type MetricsSnapshot = readonly unknown[]

export type Collectors = Readonly<Partial<Record<MetricName, () => readonly MetricValue[]>>>

export interface MetricsRegistry {
  /** Adds the source of some metrics; each has one. */
  add(collectors: Collectors): void
  snapshot(): Promise<MetricsSnapshot>
  text(): Promise<string>
}

export function createMetricsRegistry(): MetricsRegistry {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  return {
    add(collectors) {
      for (const [name, values] of Object.entries(collectors)) {
        const description = METRICS[name as MetricName]
        // What the registry asks of its own metrics: who they are, and their values.
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

/** @param snapshots of all processes; the aggregator of each metric says how they become one */
export function toText(snapshots: readonly MetricsSnapshot[]): Promise<string> {
  const typed = snapshots as MetricObjectWithValues<PromValue<string>>[][]
  return AggregatorRegistry.aggregate(typed).metrics()
}
