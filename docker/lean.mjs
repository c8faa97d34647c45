// Lays out what runs: IN holds the built project, OUT gets it with the HSM add-on, OUT-software without.
// Left behind: sources and objects of native add-ons, type declarations, source maps of packages.
// SPDX-License-Identifier: Apache-2.0
import { cpSync, rmSync } from 'node:fs'
import { join, sep } from 'node:path'

const [from, to] = process.argv.slice(2)
const FILES = ['package.json', 'LICENSE', 'openapi.yaml', 'sbom.cdx.json', 'dist', 'node_modules']
const LEFT_BEHIND = [
  /better-sqlite3\/(deps|src)(\/|$)/,
  /pkcs11js\/(deps|src|includes)(\/|$)/,
  /build\/Release\/(obj|\.deps|obj\.target|test_extension\.node|sqlite3\.a)/,
  /build\/(deps|node_gyp_bins)(\/|$)/,
  /\.d\.[cm]?ts(\.map)?$/,
  /node_modules\/.*\.(map|md|markdown|ts|cc|h|gyp)$/,
  /@(aws-sdk|smithy|aws-crypto)\/.*\/dist-types(\/|$)/,
  /node_modules\/\.(bin|package-lock\.json)/,
]

const keep = (path) => {
  const name = path.split(sep).join('/')
  return !LEFT_BEHIND.some((form) => form.test(name))
}

for (const name of FILES)
  cpSync(join(from, name), join(to, name), { recursive: true, filter: keep })
for (const name of ['healthcheck.mjs', 'copy-secrets.mjs']) {
  cpSync(join(from, 'docker', name), join(to, 'docker', name))
}
cpSync(to, `${to}-software`, { recursive: true })
rmSync(join(`${to}-software`, 'node_modules/pkcs11js'), { recursive: true, force: true })
