/** Checks links between documents, and from code to documents. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { exists, listFiles, read, resolveFrom } from '../support/repository.ts'

const DOCUMENTS = listFiles().filter((path) => path.endsWith('.md'))

/** Returns the targets of `[text](target)` and `[name]: target` outside code. */
function linksOf(markdown: string): readonly string[] {
  const prose = markdown.replaceAll(/^```[\s\S]*?^```/gm, '').replaceAll(/`[^`\n]*`/g, '')
  const inline = [...prose.matchAll(/\]\(([^()\s]+)\)/g)]
  const references = [...prose.matchAll(/^\[[^\]]+\]: (\S+)$/gm)]
  return [...inline, ...references].map(([, target = '']) => target)
}

/** Returns the anchors that GitHub generates for headings. */
function anchorsOf(markdown: string): ReadonlySet<string> {
  const headings = [...markdown.matchAll(/^#+ (.*)$/gm)].map(([, text = '']) => text)
  return new Set(
    headings.map((text) =>
      text
        .toLowerCase()
        .replaceAll(/[^a-z0-9 _-]/g, '')
        .replaceAll(' ', '-'),
    ),
  )
}

void t.test('relative links of all documents resolve, anchors too', (t) => {
  let checked = 0
  for (const document of DOCUMENTS) {
    for (const link of linksOf(read(document))) {
      if (/^[a-z]+:/.test(link)) continue
      const [file = '', anchor] = link.split('#')
      const target = file === '' ? document : resolveFrom(document, file)
      t.ok(exists(target), `${document} links to ${link}`)
      if (anchor !== undefined && exists(target))
        t.ok(anchorsOf(read(target)).has(anchor), `${document} links to the heading ${link}`)
      checked += 1
    }
  }
  t.ok(checked >= 30, `${String(checked)} links`)
  t.end()
})

void t.test('documents named in code and scripts exist', (t) => {
  const files = listFiles().filter((path) => /\.(?:ts|js|mjs|yaml|json)$/.test(path))
  const named = files.flatMap((path) =>
    [...read(path).matchAll(/\bdocs\/[A-Za-z0-9/_.-]+\.(?:md|json)\b/g)].map(
      ([document]) => `${path} names ${document}`,
    ),
  )
  t.ok(named.length >= 5)
  t.same(
    named.filter((line) => !exists(line.split(' ').at(-1) ?? '')),
    [],
  )
  t.end()
})

void t.test('every document can be reached from the README', (t) => {
  const seen = new Set(['README.md'])
  for (const document of seen) {
    if (!exists(document)) continue
    for (const link of linksOf(read(document))) {
      const [file = ''] = link.split('#')
      const target = resolveFrom(document, file)
      if (!/^[a-z]+:/.test(link) && target.endsWith('.md')) seen.add(target)
    }
  }
  t.same(
    DOCUMENTS.filter((path) => !seen.has(path)),
    [],
  )
  t.end()
})
