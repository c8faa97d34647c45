// Prepares what `npm pack` needs besides the sources: the build, the lease guard, and npm-shrinkwrap.json, which pins
// every version and the overrides even where Latchkey is a dependency. `clean` removes the shrinkwrap again.
// SPDX-License-Identifier: Apache-2.0
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { GUARD_BINARY } from './native.mjs'
import { ROOT } from './process.mjs'
import { setUp } from './setup.mjs'

const SHRINKWRAP = join(ROOT, 'npm-shrinkwrap.json')

if (process.argv[2] === 'clean') rmSync(SHRINKWRAP, { force: true })
else {
  // npm prints the tarball's name on standard output, so nothing else may be printed there.
  await setUp((text) => process.stderr.write(text))
  if (!existsSync(join(ROOT, GUARD_BINARY))) {
    throw new Error(
      `${GUARD_BINARY} is missing: a package without it would have no guard of the lease`,
    )
  }
  const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8'))
  delete lock.packages[''].devDependencies
  for (const [path, { dev }] of Object.entries(lock.packages)) if (dev) delete lock.packages[path]
  writeFileSync(SHRINKWRAP, `${JSON.stringify(lock, null, 2)}\n`)
}
