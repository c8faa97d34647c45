/** latchkey.yaml, damaged: a configuration or a list of faults, and never a crash. */
// SPDX-License-Identifier: Apache-2.0
import { writeFile } from 'node:fs/promises'
import fc from 'fast-check'
import t from 'tap'
import { stringify, parse } from 'yaml'
import { ConfigError } from '../../src/config/faults.ts'
import { loadConfig } from '../../src/config/load.ts'
import { configFolder } from '../support/config.ts'
import { damaged, runs } from '../support/fuzz.ts'
import { read } from '../support/repository.ts'

const WHOLE = read('test/fixtures/config/0.1.0.yaml')

type Node = Record<string, unknown>

/** Paths of all settings: `['listener', 'port']`. */
function pathsOf(value: unknown, path: readonly string[] = []): readonly (readonly string[])[] {
  if (typeof value !== 'object' || value === null) return [path]
  return [path, ...Object.entries(value).flatMap(([key, one]) => pathsOf(one, [...path, key]))]
}

const PATHS = pathsOf(parse(WHOLE)).filter((path) => path.length > 0)

/** Any value in the place of any setting. */
const replaced = fc
  .tuple(
    fc.constantFrom(...PATHS),
    fc.oneof(fc.jsonValue(), fc.integer(), fc.string(), fc.constantFrom('5s', '1h', '/a', '-1ms')),
  )
  .map(([path, value]) => {
    const whole = parse(WHOLE) as Node
    let node = whole
    for (const key of path.slice(0, -1)) node = node[key] as Node
    node[path.at(-1) ?? ''] = value
    return stringify(whole)
  })

const text = fc.oneof(damaged(WHOLE), replaced, fc.string())

void t.test(
  'a damaged file is a configuration, or an error with its faults in words',
  async (t) => {
    const { file } = await configFolder(t)
    const seen = { accepted: 0, refused: 0 }
    await fc.assert(
      fc.asyncProperty(text, async (yaml) => {
        await writeFile(file, yaml)
        try {
          await loadConfig(file, {})
          seen.accepted += 1
          return true
        } catch (error) {
          if (!(error instanceof ConfigError)) throw error
          seen.refused += 1
          return error.faults.length > 0 && error.faults.every(({ message }) => message !== '')
        }
      }),
      runs(250),
    )
    t.ok(seen.accepted > 10 && seen.refused > 100, JSON.stringify(seen))
  },
)
