// For Kubernetes: copies a mounted Secret's files to a volume in memory, as the proxy wants them: its own, mode 0600.
// SPDX-License-Identifier: Apache-2.0
import { copyFileSync, chmodSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'

const [from, to] = process.argv.slice(2)
for (const name of readdirSync(from)) {
  // Beside its files, such a mount has folders that begin with two dots.
  if (name.startsWith('..') || !statSync(join(from, name)).isFile()) continue
  copyFileSync(join(from, name), join(to, name))
  chmodSync(join(to, name), 0o600)
}
