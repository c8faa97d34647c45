// Prepares everything that `npm pack` needs besides the sources: the build, Latchkey's own add-ons, and the lock file's
// packages, which are bundled. When npm installs a package, it ignores the package's lock file and overrides, but uses
// bundled packages as they are. The addresses in package.json are those of the clone's origin. `clean` restores
// package.json.
// SPDX-License-Identifier: Apache-2.0
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { OWN_BINARIES } from './native.mjs'
import { ROOT, run } from './process.mjs'
import { setUp } from './setup.mjs'

const MANIFEST = join(ROOT, 'package.json')
const ORIGINAL = join(ROOT, 'node_modules/.cache/package.json')

/** Restores package.json. Also called at the start, in case an earlier `npm pack` was interrupted. */
function restore() {
  if (!existsSync(ORIGINAL)) return
  copyFileSync(ORIGINAL, MANIFEST)
  rmSync(ORIGINAL)
}

/**
 * Returns `repository`, `bugs` and `homepage` for package.json. They are empty if the clone's origin is not on the web,
 * for example if it is a folder.
 */
async function findAddresses() {
  const { code, stdout } = await run('git', ['config', '--get', 'remote.origin.url'])
  const pattern =
    /^(?:https:\/\/|git@|ssh:\/\/git@)([\w-]+(?:\.[\w-]+)+)[/:]([\w./-]+?)(?:\.git)?\/?$/
  const [, host, path] = (code === 0 && pattern.exec(stdout.trim())) || []
  if (host === undefined) return {}
  const home = `https://${host}/${path}`
  return {
    repository: { type: 'git', url: `git+${home}.git` },
    bugs: `${home}/issues`,
    homepage: `${home}#readme`,
  }
}

restore()
if (process.argv[2] !== 'clean') {
  // npm prints the tarball's name to standard output, so print nothing else there.
  await setUp((text) => process.stderr.write(text))
  const missing = OWN_BINARIES.filter((name) => !existsSync(join(ROOT, name)))
  if (missing.length > 0)
    throw new Error(`not built: ${missing.join(', ')}; install all packages, pkcs11js included`)
  const manifest = { ...JSON.parse(readFileSync(MANIFEST, 'utf8')), ...(await findAddresses()) }
  mkdirSync(dirname(ORIGINAL), { recursive: true })
  copyFileSync(MANIFEST, ORIGINAL)
  const { dependencies, optionalDependencies } = manifest
  manifest.bundleDependencies = Object.keys({ ...dependencies, ...optionalDependencies })
  writeFileSync(MANIFEST, `${JSON.stringify(manifest, null, 2)}\n`)
}
