// Replaces generated sections in hand-written pages.
// SPDX-License-Identifier: Apache-2.0

/**
 * Replaces the text between `<!-- name:begin … -->` and `<!-- name:end -->` in a hand-written document.
 * @throws if the two markers are missing
 */
export function replaceSection(document, name, text) {
  sectionOf(document, name)
  return document.replace(patternOf(name), (_, begin, _text, end) => `${begin}\n${text}\n${end}`)
}

/**
 * @returns the text between the section's two markers.
 * @throws if the markers are missing
 */
export function sectionOf(document, name) {
  const [, , text] = patternOf(name).exec(document) ?? []
  if (text === undefined) throw new Error(`The document lacks the section ${name}.`)
  return text
}

const patternOf = (name) =>
  new RegExp(`(<!-- ${name}:begin[^>]*-->\\n)([\\s\\S]*?)(<!-- ${name}:end -->)`)

/** @param components COMPONENTS from eslint.config.js */
export function componentsTable(components) {
  const names = (list) => list.map((name) => `\`${name}\``).join(', ')
  const rows = Object.entries(components)
    .sort(([, a], [, b]) => b.rank - a.rank)
    .map(([name, { rank, holds, imports, types = [] }]) => {
      const edges = [names(imports), types.length === 0 ? '' : `types of ${names(types)}`]
      return `| ${rank} | \`${name}\` | ${holds} | ${edges.filter((one) => one !== '').join('; ')} |`
    })
  return ['| rank | component | what it holds | imports |', '|---|---|---|---|', ...rows, ''].join(
    '\n',
  )
}
