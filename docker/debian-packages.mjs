// Adds Debian packages to the bill of materials BILL, using dpkg's own records. Adds the packages that own the given
// files, or all installed packages if no file is given. Run it again in an image that installs more packages.
//   node debian-packages.mjs BILL [FILE]…
// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { toSerialNumber } from './serial-number.mjs'

const FORMAT = ['Package', 'Version', 'Architecture', 'source:Package', 'db:Status-Status']
  .map((name) => `\${${name}}`)
  .join('\\t')
const [bill, ...files] = process.argv.slice(2)
const dpkg = (...operands) =>
  execFileSync('dpkg-query', operands, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })

/**
 * Returns the package that owns a file. On a system with a merged /usr, dpkg may have recorded the file under either
 * path.
 */
function findOwner(file) {
  for (const path of [file, `/usr${file}`, file.replace(/^\/usr/, '')]) {
    try {
      return dpkg('--search', path).split(': ')[0]
    } catch {
      // dpkg may have recorded the file under the other path: /lib instead of /usr/lib, or the reverse.
    }
  }
  throw new Error(`no package owns ${file}`)
}

/** Returns the distribution's id and version, such as `debian-12`. */
function readDistribution() {
  const text = readFileSync('/etc/os-release', 'utf8')
  const field = (name) => new RegExp(`^${name}="?([^"\n]*)`, 'm').exec(text)?.[1]
  return `${field('ID')}-${field('VERSION_ID')}`
}

function listPackages() {
  const owners = [...new Set(files.map(findOwner))]
  const distribution = readDistribution()
  return dpkg('--show', `--showformat=${FORMAT}\\n`, ...owners)
    .trim()
    .split('\n')
    .map((line) => line.split('\t'))
    .filter(([, , , , status]) => status === 'installed')
    .map(([name, version, architecture, source]) => {
      const upstream = source === name ? '' : `&upstream=${encodeURIComponent(source)}`
      const qualifiers = `arch=${architecture}&distro=${distribution}${upstream}`
      const purl = `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}?${qualifiers}`
      return { 'bom-ref': purl, type: 'library', name, version, purl }
    })
}

const before = JSON.parse(readFileSync(bill, 'utf8'))
const added = listPackages()
const names = new Set(added.map(({ name }) => name))
const isReplaced = ({ name, purl = '' }) => purl.startsWith('pkg:deb/') && names.has(name)
const components = [...before.components.filter((one) => !isReplaced(one)), ...added]
components.sort((a, b) => (a['bom-ref'] < b['bom-ref'] ? -1 : 1))
const after = { ...before, components }
writeFileSync(bill, JSON.stringify({ ...after, serialNumber: toSerialNumber(after) }))
