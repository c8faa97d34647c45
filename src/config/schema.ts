/** The complete latchkey.yaml, composed of its sections. */
// SPDX-License-Identifier: Apache-2.0
import { admin } from './sections/admin.ts'
import { backends } from './sections/backends.ts'
import { keyStores } from './sections/key-stores.ts'
import { listener } from './sections/listener.ts'
import {
  activity,
  audit,
  control,
  health,
  limits,
  logging,
  metrics,
  policy,
  sigv4,
  tracing,
  workers,
} from './sections/service.ts'
import { store } from './sections/store.ts'
import { tripwire } from './sections/tripwire.ts'
import { webhooks } from './sections/webhooks.ts'
import { object, optional, type RawOf } from './setting.ts'

export const CONFIG = object('Configuration of Latchkey.', {
  workers,
  listener,
  keyStores,
  backends,
  store,
  control,
  policy,
  audit,
  tripwire,
  admin: optional(admin),
  limits,
  sigv4,
  health,
  activity,
  logging,
  metrics: optional(metrics),
  tracing: optional(tracing),
  webhooks,
})

/** JSON Schema of the configuration file. */
export const CONFIG_SCHEMA = CONFIG.schema

/** The file as written, after schema validation and with defaults filled in. */
export type RawConfig = RawOf<typeof CONFIG>
