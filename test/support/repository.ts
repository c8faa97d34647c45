/** Reads the repository's files for guard tests. */
// SPDX-License-Identifier: Apache-2.0
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Walks up to the folder with package.json, because tests run both from the sources and from .test-build. */
function findRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder)
  return folder
}

export const ROOT = findRoot()

/** Ignored paths that tools or quickstart create. */
const NOT_OURS = new Set([
  '.git',
  '.tap',
  '.test-build',
  'coverage',
  'demo',
  'dist',
  'node_modules',
  'src/keys/pkcs11/worker/gcm/build',
  'src/killswitch/gate/guard/build',
  'src/store/row-codes/build',
])

/** Returns the paths of all files below `folder`, relative to the root and in ascending order. */
export function listFiles(folder = ''): readonly string[] {
  const entries = readdirSync(join(ROOT, folder), { withFileTypes: true })
  return entries
    .flatMap((entry) => {
      const path = join(folder, entry.name)
      // In a linked worktree, .git is a file.
      if (NOT_OURS.has(path)) return []
      if (entry.isDirectory()) return listFiles(path)
      return entry.isFile() && !entry.name.endsWith('.log') ? [path] : []
    })
    .sort()
}

export function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

/** Resolves `link`, as written in the file `from`, to a path relative to the root. */
export function resolveFrom(from: string, link: string): string {
  return relative(ROOT, join(ROOT, dirname(from), link))
}

export function exists(path: string): boolean {
  return existsSync(join(ROOT, path))
}

/** Returns the rows of all Markdown tables in a document, as trimmed cells. */
export function tableRows(markdown: string): readonly (readonly string[])[] {
  return markdown
    .split('\n')
    .filter((line) => /^\|.*\|$/.test(line) && !/^\|[-: |]+\|$/.test(line))
    .map((line) =>
      line
        .slice(1, -1)
        .split(/(?<!\\)\|/)
        .map((cell) => cell.trim()),
    )
}

/** Returns a Markdown section, from its heading to the next one. */
export function section(markdown: string, heading: string): string {
  const lines = markdown.split('\n')
  const start = lines.indexOf(heading)
  if (start < 0) throw new Error(`there is no heading "${heading}"`)
  const rest = lines.slice(start + 1)
  const end = rest.findIndex((line) => /^#+ /.test(line))
  return rest.slice(0, end < 0 ? rest.length : end).join('\n')
}
