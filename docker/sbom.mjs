// Prints the bill of materials of a built project's runtime packages in CycloneDX, made by npm. `npm sbom --omit=dev`
// would omit packages that a development tool needs too, such as `yaml`, so npm gets a lock file with only the runtime
// packages.
// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
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
// npm names its subject after the folder.
const folder = join(outer, manifest.name)
try {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest))
  writeFileSync(join(folder, 'package-lock.json'), JSON.stringify(lock))
  const args = ['sbom', '--package-lock-only', '--sbom-format=cyclonedx']
  const bill = JSON.parse(execFileSync('npm', args, { cwd: folder, maxBuffer: 2 ** 26 }))
  process.stdout.write(JSON.stringify(makeReproducible(bill), undefined, 2))
} finally {
  rmSync(outer, { recursive: true, force: true })
}

/** Replaces the timestamp and the random serial number, so that the same packages yield the same bytes. */
function makeReproducible({ serialNumber: _random, metadata, ...bill }) {
  const seconds = Number(process.env.SOURCE_DATE_EPOCH ?? 0)
  const timestamp = new Date(seconds * 1000).toISOString()
  const hash = createHash('sha256').update(JSON.stringify(bill)).digest('hex')
  // Formats the hash as a UUID of version 8 (RFC 9562).
  const id = hash.replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*$/, '$1-$2-8$3-8$4-$5')
  return { ...bill, serialNumber: `urn:uuid:${id}`, metadata: { ...metadata, timestamp } }
}
