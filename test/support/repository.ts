/** Reads the repository as a folder of files, for guards. */
// SPDX-License-Identifier: Apache-2.0
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Goes up to the folder with package.json, because tests run from sources and from .test-build. */
function findRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder)
  return folder
}

export const ROOT = findRoot()

/** Paths that .gitignore excludes, made by tools or by quickstart. */
const NOT_OURS = new Set([
  '.git',
  '.tap',
  '.test-build',
  'coverage',
  'demo',
  'dist',
  'node_modules',
  'src/killswitch/gate/guard/build',
])

/** Returns paths from the root, ascending, of every file below `folder`. */
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

/** Returns the path from the root that `link` in the file `from` leads to. */
export function resolveFrom(from: string, link: string): string {
  return relative(ROOT, join(ROOT, dirname(from), link))
}

export function exists(path: string): boolean {
  return existsSync(join(ROOT, path))
}

/** Returns the rows of all Markdown tables in a text, as cells without surrounding blanks. */
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

/** Returns the part of a Markdown text from a heading to the next one. */
export function section(markdown: string, heading: string): string {
  const lines = markdown.split('\n')
  const start = lines.indexOf(heading)
  if (start < 0) throw new Error(`there is no heading "${heading}"`)
  const rest = lines.slice(start + 1)
  const end = rest.findIndex((line) => /^#+ /.test(line))
  return rest.slice(0, end < 0 ? rest.length : end).join('\n')
}
