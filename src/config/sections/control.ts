/** `control`: the kill switch. */
// SPDX-License-Identifier: Apache-2.0
import { duration, integer, object, path } from './section.ts'

export const control = object(
  'The kill switch.',
  {
    lease: duration(
      'How long a server goes on when it cannot read the store; then it refuses everything. Also the longest that a kill takes to be complete.',
      '2s',
    ),
    sentinelFile: path(
      'While this file exists, the servers of this host refuse everything. Default: the path of the store with `.block` behind it; with `store.postgres`, `latchkey.block` beside the configuration.',
    ),
    highWaterFile: path(
      'Where this host keeps the highest epoch that it has seen, so that a store restored from a backup is refused. Default: the path of the store with `.epoch` behind it; with `store.postgres`, `latchkey.epoch` beside the configuration.',
    ),
    restore: object(
      'What it takes to lift a kill switch. Stopping is always at once.',
      {
        people: integer('1, or 2: somebody else than whoever asked for it must approve.', {
          minimum: 1,
          maximum: 2,
          default: 1,
        }),
        delay: duration('Between asking for it and lifting.', '0s'),
      },
      { default: {} },
    ),
  },
  { default: {} },
)
