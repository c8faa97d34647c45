/** Runs the terminator tests with Envoy. `npm run check:envoy` downloads Envoy and sets ENVOY. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { envoy } from '../support/terminator.ts'
import { tellTerminated } from '../support/terminator-story.ts'

void t.test('[AUTH-2] [AUTH-3] behind Envoy, as published', (t) =>
  tellTerminated(t, envoy(process.env['ENVOY'] ?? 'envoy')),
)
