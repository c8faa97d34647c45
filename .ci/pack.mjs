// Prepares what `npm pack` needs besides the sources: the build, the lease guard, and the packages of the lock file,
// which are bundled. For an installed package npm ignores the lock file and the overrides, but it takes bundled
// packages as they are. `clean` restores package.json.
// SPDX-License-Identifier: Apache-2.0
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { GUARD_BINARY } from './native.mjs'
import { ROOT } from './process.mjs'
import { setUp } from './setup.mjs'

const MANIFEST = join(ROOT, 'package.json')
const ORIGINAL = join(ROOT, 'node_modules/.cache/package.json')

/** Also runs before, in case an earlier `npm pack` was interrupted. */
function restore() {
  if (!existsSync(ORIGINAL)) return
  copyFileSync(ORIGINAL, MANIFEST)
  rmSync(ORIGINAL)
}

restore()
if (process.argv[2] !== 'clean') {
  // npm prints the tarball's name on standard output, so nothing else may be printed there.
  await setUp((text) => process.stderr.write(text))
  if (!existsSync(join(ROOT, GUARD_BINARY))) {
    throw new Error(
      `${GUARD_BINARY} is missing: a package without it would have no guard of the lease`,
    )
  }
  const manifest = JSON.parse(readFileSync(MANIFEST, 'utf8'))
  mkdirSync(dirname(ORIGINAL), { recursive: true })
  copyFileSync(MANIFEST, ORIGINAL)
  const { dependencies, optionalDependencies } = manifest
  manifest.bundleDependencies = Object.keys({ ...dependencies, ...optionalDependencies })
  writeFileSync(MANIFEST, `${JSON.stringify(manifest, null, 2)}\n`)
}
