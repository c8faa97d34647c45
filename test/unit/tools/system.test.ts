/** Tests that root can create the files for a host's service only with `init --system`. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { checkServiceUser } from '../../../src/tools/install/system.ts'

const FILE = '/etc/latchkey/latchkey.yaml'

void t.test("root may not create files that the host's service could not open", (t) => {
  const asRoot = { uid: 0, hasUnit: true }
  const refused = { code: 'USAGE', hint: 'sudo latchkey init --system' }
  t.throws(() => {
    checkServiceUser(FILE, asRoot)
  }, refused)
  t.throws(() => {
    checkServiceUser('/etc/../etc/latchkey/latchkey.yaml', asRoot)
  }, refused)
  checkServiceUser('/srv/latchkey.yaml', asRoot)
  checkServiceUser(FILE, { uid: 0, hasUnit: false })
  checkServiceUser(FILE, { uid: 998, hasUnit: true })
  t.end()
})
