// Copies the files from a Kubernetes Secret mount to an in-memory volume, with mode 0600 and the proxy's user as owner.
// SPDX-License-Identifier: Apache-2.0
import { copyFileSync, chmodSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'

const [from, to] = process.argv.slice(2)
for (const name of readdirSync(from)) {
  // A Secret mount also contains folders whose names start with two dots.
  if (name.startsWith('..') || !statSync(join(from, name)).isFile()) continue
  copyFileSync(join(from, name), join(to, name))
  chmodSync(join(to, name), 0o600)
}
