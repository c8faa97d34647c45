/** Fuzzes latchkey.yaml: the result is a configuration or a list of errors, never a crash. */
// SPDX-License-Identifier: Apache-2.0
import { writeFile } from 'node:fs/promises'
import { isDeepStrictEqual } from 'node:util'
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

/** Returns the path of every setting, such as `['listener', 'port']`. */
function pathsOf(value: unknown, path: readonly string[] = []): readonly (readonly string[])[] {
  if (typeof value !== 'object' || value === null) return [path]
  return [path, ...Object.entries(value).flatMap(([key, one]) => pathsOf(one, [...path, key]))]
}

const PATHS = pathsOf(parse(WHOLE)).filter((path) => path.length > 0)

/** Replaces a random setting with an arbitrary value. */
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

/** Paths of all mappings, including the document itself. */
const MAPPINGS = pathsOf(parse(WHOLE)).filter((path) => {
  const value = at(parse(WHOLE), path)
  return typeof value === 'object' && value !== null && !Array.isArray(value)
})

function at(value: unknown, path: readonly string[]): unknown {
  return path.reduce((node, key) => (node as Node)[key], value)
}

/** Reorders the settings of a random mapping. */
const reordered = fc
  .constantFrom(...MAPPINGS)
  .chain((path) => {
    const keys = Object.keys(at(parse(WHOLE), path) as Node)
    return fc.tuple(
      fc.constant(path),
      fc.shuffledSubarray(keys, { minLength: keys.length, maxLength: keys.length }),
    )
  })
  .map(([path, keys]) => {
    const whole = parse(WHOLE) as Node
    const mapping = at(whole, path) as Node
    const entries = keys.map((key) => [key, mapping[key]] as const)
    for (const key of keys) Reflect.deleteProperty(mapping, key)
    for (const [key, value] of entries) mapping[key] = value
    return stringify(whole)
  })

/** Adds an unknown setting to a random mapping. */
const unknownSetting = fc
  .tuple(fc.constantFrom(...MAPPINGS), fc.stringMatching(/^x[a-z]{3,12}$/))
  .map(([path, name]) => {
    const whole = parse(WHOLE) as Node
    const mapping = at(whole, path) as Node
    mapping[name] = true
    return { name, yaml: stringify(whole) }
  })

void t.test('a corrupted file yields a configuration or a list of readable errors', async (t) => {
  const { file } = await configFolder(t)
  const checked = fc.assert(
    fc.asyncProperty(text, async (yaml) => {
      await writeFile(file, yaml)
      try {
        await loadConfig(file, {})
        return true
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error
        return error.faults.length > 0 && error.faults.every(({ message }) => message !== '')
      }
    }),
    runs(250),
  )
  await t.resolves(checked)
})

void t.test(
  'a mapping as a key is an error, and the YAML package prints nothing from the file',
  async (t) => {
    const { faults } = await configFolder(t)
    const printed: string[] = []
    const note = ({ message }: Error) => printed.push(message)
    process.on('warning', note)
    t.teardown(() => process.off('warning', note))
    t.ok((await faults(`${WHOLE}\n? { secret: text }\n: 1\n`)).length > 0)
    await new Promise(setImmediate)
    t.same(printed, [])
  },
)

void t.test('the order of settings does not matter', async (t) => {
  const { load } = await configFolder(t)
  const expected = await load(WHOLE)
  const checked = fc.assert(
    fc.asyncProperty(reordered, async (yaml) => isDeepStrictEqual(await load(yaml), expected)),
    runs(30),
  )
  await t.resolves(checked)
})

void t.test('an unknown setting is reported by name, wherever it is', async (t) => {
  const { faults } = await configFolder(t)
  const checked = fc.assert(
    fc.asyncProperty(unknownSetting, async ({ name, yaml }) =>
      (await faults(yaml)).some((fault) => fault.includes(name)),
    ),
    runs(120),
  )
  await t.resolves(checked)
})
