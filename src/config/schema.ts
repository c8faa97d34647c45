/** latchkey.yaml as a whole, composed from its sections. */
// SPDX-License-Identifier: Apache-2.0
import { admin } from './sections/admin.ts'
import { backends } from './sections/backends.ts'
import { keyStores } from './sections/key-stores.ts'
import { listener } from './sections/listener.ts'
import {
  activity,
  control,
  health,
  limits,
  logging,
  metrics,
  sigv4,
  tracing,
  workers,
} from './sections/service.ts'
import { store } from './sections/store.ts'
import { object, optional, type RawOf } from './setting.ts'

export const CONFIG = object('Configuration of Latchkey.', {
  workers,
  listener,
  keyStores,
  backends,
  store,
  control,
  admin: optional(admin),
  limits,
  sigv4,
  health,
  activity,
  logging,
  metrics: optional(metrics),
  tracing: optional(tracing),
})

/** The JSON Schema. */
export const CONFIG_SCHEMA = CONFIG.schema

/** The file as it is written, after the schema and its defaults. */
export type RawConfig = RawOf<typeof CONFIG>
