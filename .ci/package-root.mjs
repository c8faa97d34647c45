// Creates the Debian root in which check-packages.mjs tests a package. Stand-ins replace what the root lacks: a
// `systemctl` that records its calls and, for rpm, a package that provides the dependencies.
// SPDX-License-Identifier: Apache-2.0
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { makeDebian } from './container-base.mjs'
import { must, run } from './process.mjs'

/** Directory in the root in which the commands from docs/install.md run. */
export const PLACE = '/tmp/place'
const MOUNTS = ['proc', 'dev']
const CALLS = 'var/log/systemctl'
/**
 * Package that stands in for the packages of an RPM-based distribution. Debian's own packages are not in the root's RPM
 * database.
 */
const DISTRIBUTION = `Name: distribution
Version: 1
Release: 1
Summary: Stands in for the packages of a distribution with RPM
License: Apache-2.0
BuildArch: noarch
Provides: glibc = 2.36
Provides: libstdc++ = 8
Provides: shadow-utils = 4.6
Provides: /bin/sh
%description
%files
`

/** @param {{ folder: string, hosts: string }} options `folder`: where the root is created; `hosts`: its /etc/hosts */
export function createPackageRoot({ folder, hosts }) {
  const root = join(folder, 'root')
  const quick = { timeoutMs: 120_000 }

  /** Runs a command in the root. @throws if it fails */
  const inside = (...words) => must('chroot', [root, ...words], { cwd: '/', ...quick })

  /**
   * Runs a command from docs/install.md in the root.
   * @returns its output
   */
  const typeInside = (command) => inside('sh', '-c', `cd ${PLACE} && ${command}`)
  const toInside = (path) => join(PLACE, 'packages', basename(path))
  const rpm = (...words) => must('rpm', ['--root', root, ...words], quick)

  /** Creates a fresh root, runs `work` in it, and removes the root. */
  async function withRoot(work) {
    await must('cp', ['-a', await makeDebian(), root])
    // debootstrap does not write this file.
    writeFileSync(join(root, 'etc/hosts'), hosts)
    mkdirSync(join(root, PLACE, 'packages'), { recursive: true })
    mkdirSync(join(root, 'run/systemd/system'), { recursive: true })
    const systemctl = `#!/bin/sh\necho "$*" >> /${CALLS}\n`
    writeFileSync(join(root, 'usr/bin/systemctl'), systemctl, { mode: 0o755 })
    for (const name of MOUNTS) await must('mount', ['--bind', `/${name}`, join(root, name)])
    try {
      await work()
    } finally {
      await removeRoot()
    }
  }

  async function removeRoot() {
    for (const name of MOUNTS) await run('umount', ['--lazy', join(root, name)])
    // If one of the host's folders were still mounted in the root, removing the root would delete its contents.
    const { stdout } = await run('sh', ['-c', `grep -c ' ${root}/' /proc/self/mounts`])
    if (stdout.trim() !== '0') throw new Error(`${root} is still mounted`)
    rmSync(root, { recursive: true, force: true })
  }

  /** Returns the `systemctl` calls since the previous call of this function, one per line. */
  function takeCalls() {
    const file = join(root, CALLS)
    if (!existsSync(file)) return ''
    const calls = readFileSync(file, 'utf8')
    rmSync(file)
    return calls
  }

  async function installDistribution() {
    const top = join(folder, 'rpmbuild')
    mkdirSync(top, { recursive: true })
    const spec = join(top, 'distribution.spec')
    writeFileSync(spec, DISTRIBUTION)
    await must('rpmbuild', ['-bb', '--define', `_topdir ${top}`, spec], quick)
    await rpm('--install', join(top, 'RPMS/noarch/distribution-1-1.noarch.rpm'))
  }

  /** For each package format, the commands that install a package, upgrade it, print its version and remove it. */
  const kinds = {
    deb: {
      shown: /^dpkg --install /,
      prepare: () => Promise.resolve(),
      install: typeInside,
      upgrade: (path) => inside('dpkg', '--install', toInside(path)),
      version: () => inside('dpkg-query', '--show', 'latchkey'),
      remove: () => inside('dpkg', '--remove', 'latchkey'),
      purge: () => inside('dpkg', '--purge', 'latchkey'),
    },
    // rpm runs on the host. It runs the scriptlets in the root.
    rpm: {
      shown: /^rpm --install /,
      prepare: installDistribution,
      install: (command) =>
        must('sh', ['-c', command.replace(/^rpm /, `rpm --root ${root} `)], {
          cwd: join(root, PLACE),
          ...quick,
        }),
      upgrade: (path) => rpm('--upgrade', path),
      version: () => rpm('--query', 'latchkey'),
      remove: () => rpm('--erase', 'latchkey'),
      purge: () => Promise.resolve(),
    },
  }
  return { root, inside, typeInside, toInside, withRoot, takeCalls, kinds }
}
