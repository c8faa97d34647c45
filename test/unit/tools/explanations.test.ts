/** Tests that hints about KMS name the service principals of the region's partition. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { kmsNames } from '../../../src/core/partitions.ts'
import {
  CONNECTION_ERRORS,
  EXCEPTION_HINTS,
  explainConnectionError,
  hintOf,
} from '../../../src/tools/register/explanations.ts'

void t.test('no hint has a placeholder, and each principal is of its partition', (t) => {
  for (const region of ['us-east-1', 'us-gov-west-1', 'cn-north-1', 'eusc-de-east-1']) {
    const hints = [
      ...Object.keys(CONNECTION_ERRORS).map((code) => explainConnectionError(code, region).hint),
      ...Object.keys(EXCEPTION_HINTS).map((exception) => hintOf(exception, region) ?? ''),
    ]
    const named = hints.filter((hint) => hint.includes('cks.kms.'))
    t.equal(named.length, 4)
    for (const hint of named)
      for (const name of kmsNames(region)) t.match(hint, name, `${region}: ${name}`)
    for (const hint of hints) t.notMatch(hint, 'REGION')
  }
  t.equal(hintOf('Unheard', 'us-east-1'), undefined)
  t.end()
})
