// For Kubernetes: copies the files of a mounted Secret to a volume in memory, owned by the proxy's user with mode 0600.
// SPDX-License-Identifier: Apache-2.0
import { copyFileSync, chmodSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'

const [from, to] = process.argv.slice(2)
for (const name of readdirSync(from)) {
  // Such a mount also has folders that begin with two dots.
  if (name.startsWith('..') || !statSync(join(from, name)).isFile()) continue
  copyFileSync(join(from, name), join(to, name))
  chmodSync(join(to, name), 0o600)
}
