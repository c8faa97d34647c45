// Prints the bill of materials of a built project in CycloneDX. It lists the runtime packages, as reported by npm, and
// Node.js. `npm sbom --omit=dev` would omit runtime packages that a development tool also needs, such as `yaml`, so npm
// gets a lock file with only the runtime packages.
//   node sbom.mjs PROJECT NODE_VERSION
// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { toSerialNumber } from './serial-number.mjs'

const [project = '.', node = process.versions.node] = process.argv.slice(2)
const load = (name) => JSON.parse(readFileSync(join(project, name), 'utf8'))
const manifest = load('package.json')
const lock = load('package-lock.json')

delete manifest.devDependencies
delete lock.packages[''].devDependencies
for (const [path, { dev }] of Object.entries(lock.packages)) if (dev) delete lock.packages[path]

const outer = mkdtempSync(join(tmpdir(), 'latchkey-sbom-'))
// npm names the bill's subject after the folder, so give the folder the package's name.
const folder = join(outer, manifest.name)
try {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest))
  writeFileSync(join(folder, 'package-lock.json'), JSON.stringify(lock))
  const args = ['sbom', '--package-lock-only', '--sbom-format=cyclonedx']
  const bill = JSON.parse(execFileSync('npm', args, { cwd: folder, maxBuffer: 2 ** 26 }))
  const purl = `pkg:generic/node@${node}`
  const cpe = `cpe:2.3:a:nodejs:node.js:${node}:*:*:*:*:*:*:*`
  bill.components.push({
    ...{ 'bom-ref': purl, type: 'application', name: 'node', version: node, purl, cpe },
  })
  process.stdout.write(JSON.stringify(makeReproducible(bill), undefined, 2))
} finally {
  rmSync(outer, { recursive: true, force: true })
}

/** Replaces the timestamp and the random serial number, so that the same packages yield the same bytes. */
function makeReproducible(bill) {
  const seconds = Number(process.env.SOURCE_DATE_EPOCH ?? 0)
  const timestamp = new Date(seconds * 1000).toISOString()
  const metadata = { ...bill.metadata, timestamp }
  return { ...bill, serialNumber: toSerialNumber(bill), metadata }
}
