// Copies only what runs from the built project IN: to OUT with the HSM add-on, and to OUT-software without it.
// It leaves out sources and objects of native add-ons, type declarations, source maps of packages, and their variants for
// bundlers.
// SPDX-License-Identifier: Apache-2.0
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, sep } from 'node:path'

const [from, to] = process.argv.slice(2)
const FILES = [
  'package.json',
  'LICENSE',
  'openapi.yaml',
  'sbom.cdx.json',
  'cbom.cdx.json',
  'dist',
  'node_modules',
]
/** Removes Latchkey's sources, but keeps the binaries built from them. */
const GUARD = 'src/killswitch/gate/guard/build/Release/lease_guard.node'
const LEFT_BEHIND = [
  /better-sqlite3\/(deps|src)(\/|$)/,
  /pkcs11js\/(deps|src|includes)(\/|$)/,
  /build\/Release\/(obj|\.deps|obj\.target|test_extension\.node|sqlite3\.a)/,
  /build\/(deps|node_gyp_bins)(\/|$)/,
  /\.d\.[cm]?ts(\.map)?$/,
  /node_modules\/.*\.(map|md|markdown|ts|cc|h|gyp)$/,
  /@opentelemetry\/[^/]*\/build\/(esm|esnext)(\/|$)/,
  /@(aws-sdk|smithy|aws-crypto)\/.*\/dist-types(\/|$)/,
  /node_modules\/\.(bin|package-lock\.json)/,
]

const keep = (path) => {
  const name = path.split(sep).join('/')
  return !LEFT_BEHIND.some((form) => form.test(name))
}

for (const name of FILES)
  cpSync(join(from, name), join(to, name), { recursive: true, filter: keep })
cpSync(join(from, GUARD), join(to, GUARD))
for (const name of ['healthcheck.mjs', 'copy-secrets.mjs']) {
  cpSync(join(from, 'docker', name), join(to, 'docker', name))
}
cpSync(to, `${to}-software`, { recursive: true })
rmSync(join(`${to}-software`, 'node_modules/pkcs11js'), { recursive: true, force: true })
for (const folder of [to, `${to}-software`]) trimBill(folder)

/** Removes packages from the bill of materials that are not installed, such as optional ones. */
function trimBill(folder) {
  const file = join(folder, 'sbom.cdx.json')
  const bill = JSON.parse(readFileSync(file, 'utf8'))
  const installed = new Set(listPackages(join(folder, 'node_modules')))
  const isThere = (ref) => installed.has(ref) || ref === bill.metadata.component['bom-ref']
  bill.components = bill.components.filter((one) => isThere(one['bom-ref']))
  bill.dependencies = bill.dependencies
    .filter(({ ref }) => isThere(ref))
    .map((one) => ({ ...one, dependsOn: one.dependsOn.filter(isThere) }))
  writeFileSync(file, JSON.stringify(bill))
}

/** Returns NAME@VERSION of every package below the folder. */
function listPackages(modules) {
  const found = []
  for (const { name, parentPath } of readdirSync(modules, {
    recursive: true,
    withFileTypes: true,
  })) {
    if (name !== 'package.json' || !/node_modules\/(@[^/]+\/)?[^/]+$/.test(parentPath)) continue
    const manifest = JSON.parse(readFileSync(join(parentPath, name), 'utf8'))
    found.push(`${manifest.name}@${manifest.version}`)
  }
  return found
}
