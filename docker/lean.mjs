// Copies the files needed at run time from the built project IN: to OUT with the HSM add-on, and to OUT-software without
// it. It omits the native add-ons' sources and object files, type declarations, and the packages' tests, source maps and
// bundler variants.
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
/** Binaries of Latchkey's own add-ons, which are copied without their sources. */
const GUARD = 'src/killswitch/gate/guard/build/Release/lease_guard.node'
const ROW_CODES = 'src/store/row-codes/build/Release/row_codes.node'
const TOKEN_GCM = 'src/keys/pkcs11/worker/gcm/build/Release/token_gcm.node'
const LEFT_BEHIND = [
  /better-sqlite3\/(deps|src)(\/|$)/,
  /pkcs11js\/(deps|src|includes)(\/|$)/,
  /build\/Release\/(obj|\.deps|obj\.target|test_extension\.node|sqlite3\.a)/,
  /build\/(deps|node_gyp_bins)(\/|$)/,
  /\.d\.[cm]?ts(\.map)?$/,
  /node_modules\/.*\.(map|md|markdown|ts|cc|h|gyp)$/,
  /@opentelemetry\/[^/]*\/build\/(esm|esnext)(\/|$)/,
  /@(aws-sdk|smithy|aws-crypto)\/.*\/dist-types(\/|$)/,
  /@cedar-policy\/cedar-wasm\/(esm|web)(\/|$)/,
  /node_modules\/(@[^/]+\/)?[^/@][^/]*\/(tests?|benchmarks?|examples?)(\/|$)/,
  /node_modules\/\.(bin|package-lock\.json)/,
]

const keep = (path) => {
  const name = path.split(sep).join('/')
  return !LEFT_BEHIND.some((form) => form.test(name))
}

for (const name of FILES)
  cpSync(join(from, name), join(to, name), { recursive: true, filter: keep })
for (const name of [GUARD, ROW_CODES, TOKEN_GCM]) cpSync(join(from, name), join(to, name))
const SCRIPTS = ['healthcheck.mjs', 'copy-secrets.mjs']
/** Scripts that update the bill of materials of an image that installs a vendor's module. */
const BILL_SCRIPTS = ['debian-packages.mjs', 'serial-number.mjs']
for (const name of [...SCRIPTS, ...BILL_SCRIPTS]) {
  cpSync(join(from, 'docker', name), join(to, 'docker', name))
}
cpSync(to, `${to}-software`, { recursive: true })
for (const name of [
  'node_modules/pkcs11js',
  'src/keys',
  ...BILL_SCRIPTS.map((one) => `docker/${one}`),
]) {
  rmSync(join(`${to}-software`, name), { recursive: true, force: true })
}
for (const folder of [to, `${to}-software`]) trimBill(folder)

/** Removes from the bill of materials packages that are not installed, such as optional ones. */
function trimBill(folder) {
  const file = join(folder, 'sbom.cdx.json')
  const bill = JSON.parse(readFileSync(file, 'utf8'))
  const installed = new Set(listPackages(join(folder, 'node_modules')))
  const npmPackages = new Set(
    bill.components.filter(({ purl }) => purl.startsWith('pkg:npm/')).map((one) => one['bom-ref']),
  )
  const isThere = (ref) =>
    installed.has(ref) || !npmPackages.has(ref) || ref === bill.metadata.component['bom-ref']
  bill.components = bill.components.filter((one) => isThere(one['bom-ref']))
  bill.dependencies = bill.dependencies
    .filter(({ ref }) => isThere(ref))
    .map((one) => ({ ...one, dependsOn: one.dependsOn.filter(isThere) }))
  writeFileSync(file, JSON.stringify(bill))
}

/** Returns NAME@VERSION for every package below the folder. */
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
