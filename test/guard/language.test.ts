/** Checks that comments and documents contain none of the phrases listed in test/support/telltale.ts. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import ts from 'typescript'
import { listFiles, read } from '../support/repository.ts'
import { EVERYWHERE, findTelltales, IN_COMMENTS } from '../support/telltale.ts'

/** Returns a source file's comments and their line numbers, without comment markers. */
function commentsOf(path: string): readonly { readonly line: number; readonly text: string }[] {
  const source = read(path)
  const tree = ts.createSourceFile(path, source, ts.ScriptTarget.ES2023, true, ts.ScriptKind.TS)
  const found = new Map<number, string>()
  const visit = (node: ts.Node): void => {
    for (const ranges of [
      ts.getLeadingCommentRanges(source, node.pos),
      ts.getTrailingCommentRanges(source, node.end),
    ])
      for (const { pos, end } of ranges ?? []) found.set(pos, source.slice(pos, end))
    node.getChildren(tree).forEach(visit)
  }
  visit(tree)
  return [...found].map(([pos, raw]) => ({
    line: tree.getLineAndCharacterOfPosition(pos).line + 1,
    text: raw
      .replaceAll(/^\s*(?:\/\*\*?|\*\/|\*|\/\/)|\*\/$/gm, '')
      .replaceAll(/\s+/g, ' ')
      .trim(),
  }))
}

/** Blanks out code but keeps line breaks, so that line numbers still match. */
function proseOf(markdown: string): string {
  const blank = (code: string) => code.replaceAll(/[^\n]/g, ' ')
  return markdown.replaceAll(/^ *```[\s\S]*?^ *```/gm, blank).replaceAll(/`[^`\n]*`/g, blank)
}

void t.test('no comment contains a listed phrase', (t) => {
  const files = listFiles().filter(
    (path) => /\.(?:ts|mjs|js)$/.test(path) && !path.endsWith('test/support/telltale.ts'),
  )
  let checked = 0
  const found = files.flatMap((path) =>
    commentsOf(path).flatMap(({ line, text }) => {
      checked += 1
      return findTelltales(text, [...IN_COMMENTS, ...EVERYWHERE]).map(
        (telltale) => `${path}:${String(line)}: ${telltale}`,
      )
    }),
  )
  t.ok(checked > 3000, `${String(checked)} comments`)
  t.strictSame(found, [])
  t.end()
})

void t.test('no document contains a listed phrase', (t) => {
  for (const path of listFiles().filter((path) => path.endsWith('.md'))) {
    const found = proseOf(read(path))
      .split('\n')
      .flatMap((line, i) =>
        findTelltales(line, EVERYWHERE).map((telltale) => `${path}:${String(i + 1)}: ${telltale}`),
      )
    t.strictSame(found, [], path)
  }
  t.end()
})
