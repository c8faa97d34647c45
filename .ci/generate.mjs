// Writes every generated file. With --check, it only lists outdated files, and exits with 1 if there are any.
// SPDX-License-Identifier: Apache-2.0
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import openapiTS, { astToString, COMMENT_HEADER } from 'openapi-typescript'
import { parse } from 'yaml'
import { COMPONENTS } from '../eslint.config.js'
import { cliDocument } from './cli-document.mjs'
import { configurationDocument } from './documents.mjs'
import { compile, ROOT } from './process.mjs'
import { fillErrors, fillLogging, fillMetrics } from './reference.mjs'
import { componentsTable, replaceSection } from './sections.mjs'
const isCheck = process.argv.includes('--check')
let differing = 0

function readIfThere(file) {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if (error.code !== 'ENOENT') throw error
    return undefined
  }
}

function put(path, text) {
  const file = join(ROOT, path)
  if (readIfThere(file) === text) return
  differing += 1
  process.stdout.write(`${path} ${isCheck ? 'differs: run npm run gen' : 'written'}\n`)
  if (!isCheck) writeFileSync(file, text)
}

/** Imports a module from the build, because the program itself provides the descriptions. */
const built = (path) => import(new URL(`../dist/src/${path}`, import.meta.url))

async function openApiTypes() {
  const ast = await openapiTS(new URL('../openapi.yaml', import.meta.url))
  return `${COMMENT_HEADER}${astToString(ast)}`
}

/**
 * Converts the YAML to data, because parsing it at startup would take longer than loading everything else that a
 * command needs.
 */
function openApiDocument() {
  const { info, components } = parse(readFileSync(join(ROOT, 'openapi.yaml'), 'utf8'))
  return `/** Generated from openapi.yaml by \`npm run gen\`. Do not edit. */
// SPDX-License-Identifier: Apache-2.0

export const VERSION: string = ${JSON.stringify(info.version)}

export const SCHEMAS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = ${JSON.stringify(components.schemas, null, 2)}
`
}

put('src/openapi/types.gen.ts', await openApiTypes())
put('src/openapi/document.gen.ts', openApiDocument())
// `--check` always runs after a build. Without it, the sources have usually changed, so build first.
if (!isCheck) await compile('.')

const { describeAsJsonSchema, describeAsMarkdown } = await built('config/describe.js')
put('docs/latchkey.schema.json', describeAsJsonSchema())
put('docs/configuration.md', configurationDocument(describeAsMarkdown()))

const { COMMANDS, loadCommand } = await built('cli/commands.js')
const commands = await Promise.all([...COMMANDS.keys()].map(loadCommand))
const { COMMON_FLAGS: commonFlags } = await built('terminal/command.js')
const { EXIT_CODES: exitCodes } = await built('cli/exit-codes.js')
const { usageOf } = await built('cli/help.js')
const { EFFECTS: effects } = await built('cli/effects.js')
put('docs/cli.md', cliDocument({ commands, commonFlags, effects, exitCodes, usageOf }))

const page = (path) => readFileSync(join(ROOT, path), 'utf8')
put(
  'docs/internals/architecture.md',
  replaceSection(page('docs/internals/architecture.md'), 'components', componentsTable(COMPONENTS)),
)
put('docs/errors.md', await fillErrors(page('docs/errors.md')))
put('docs/logging.md', await fillLogging(page('docs/logging.md')))
put('docs/metrics.md', await fillMetrics(page('docs/metrics.md')))

process.exitCode = isCheck && differing > 0 ? 1 : 0
