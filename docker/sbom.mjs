// The bill of materials of a built project, by npm, in CycloneDX, on standard output: what is used when it runs.
// `npm sbom --omit=dev` leaves out packages that a development tool needs as well, among them `yaml`. So npm gets a
// lock file in which nothing else is.
// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const [project = '.'] = process.argv.slice(2)
const load = (name) => JSON.parse(readFileSync(join(project, name), 'utf8'))
const manifest = load('package.json')
const lock = load('package-lock.json')

delete manifest.devDependencies
delete lock.packages[''].devDependencies
for (const [path, { dev }] of Object.entries(lock.packages)) if (dev) delete lock.packages[path]

const outer = mkdtempSync(join(tmpdir(), 'latchkey-sbom-'))
// npm names what it describes after its folder.
const folder = join(outer, manifest.name)
try {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest))
  writeFileSync(join(folder, 'package-lock.json'), JSON.stringify(lock))
  const args = ['sbom', '--package-lock-only', '--sbom-format=cyclonedx']
  process.stdout.write(execFileSync('npm', args, { cwd: folder, maxBuffer: 2 ** 26 }))
} finally {
  rmSync(outer, { recursive: true, force: true })
}
