// Reads the commands and the YAML that a document shows, so that the checks use what a user would type.
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from './process.mjs'

/**
 * @param {string} document path relative to the project root
 * @param {string} heading the section's heading, without the `##`
 * @returns {string[]} the lines of the section's code blocks, in order, without comments
 */
export function shownCommands(document, heading) {
  const sections = readFileSync(join(ROOT, document), 'utf8').split(/^## /m)
  const section = sections.find((text) => text.startsWith(`${heading}\n`)) ?? ''
  const commands = blocksOf(section, '')
    .flatMap((text) => text.replaceAll(/ *\\\n\s*/g, ' ').split('\n'))
    .map((line) => line.replace(/(^| {2,})#.*$/, '').trim())
    .filter((line) => line !== '')
  if (commands.length === 0) throw new Error(`${document}: no commands under ${heading}`)
  return commands
}

/**
 * @param {string} document path relative to the project root
 * @returns {string[]} the document's YAML blocks, in order
 */
export function shownYaml(document) {
  const blocks = blocksOf(readFileSync(join(ROOT, document), 'utf8'), 'yaml')
  if (blocks.length === 0) throw new Error(`${document}: no YAML`)
  return blocks
}

/** Matches blocks in every language, so that the end of one is not mistaken for the start of another. */
const blocksOf = (text, wanted) =>
  [...text.matchAll(/^ *```(\w*)\n([\s\S]*?)^ *```$/gm)]
    .filter(([, language]) => language === wanted)
    .map(([, , block]) => block)

/** Returns the position of the only command that matches. @throws if there is not exactly one */
export function findCommand(commands, pattern) {
  const found = commands.filter((command) => pattern.test(command))
  if (found.length !== 1)
    throw new Error(`${found.length} commands match ${pattern}:\n${commands.join('\n')}`)
  return commands.indexOf(found[0])
}
