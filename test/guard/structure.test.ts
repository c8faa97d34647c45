/** How the sources hang together: who may import whom, how long a file is, what only one place does. */
// SPDX-License-Identifier: Apache-2.0
import { basename, dirname } from 'node:path'
import t from 'tap'
import ts from 'typescript'
import { listFiles, read } from '../support/repository.ts'
import { findChain, findCycles, findUses, loadSources, type Source } from '../support/source.ts'

/** docs/architecture.md explains them. A file imports from its own folder and from lower ranks. */
const RANKS: Readonly<Record<string, number>> = {
  base: 0,
  storage: 1,
  config: 1,
  openapi: 1,
  sigv4: 2,
  control: 2,
  activity: 2,
  backend: 2,
  'kms-side': 2,
  workers: 2,
  metrics: 2,
  xks: 3,
  listener: 4,
  admin: 4,
  compose: 5,
  certs: 5,
  cli: 6,
  main: 7,
  bench: 8,
}

const MAX_LINES = 300
const isGenerated = (path: string) => path.endsWith('.gen.ts')

const program = loadSources('src', 'certs', 'bench')
const tests = loadSources('test')

/** The name under which a file stands in the table of ranks. */
function partOf(path: string): string {
  const [first = '', second = ''] = path.split('/')
  if (first !== 'src') return first
  return second.replace(/\.ts$/, '').replace(/^compose-[a-z-]+$/, 'compose')
}

/** One sentence for each import that goes the wrong way. */
function findWrongImports(sources: readonly Source[]): readonly string[] {
  return sources.flatMap(({ path, imports }) =>
    imports
      .filter(({ target }) => target.endsWith('.ts'))
      .filter(({ target }) => {
        const from = RANKS[partOf(path)] ?? -1
        const to = RANKS[partOf(target)] ?? Infinity
        return partOf(target) !== partOf(path) && to >= from
      })
      .map(({ target, line }) => {
        const back = findChain(sources, target, path)
        const way = back === undefined ? '' : `, and back by ${back.join(' -> ')}`
        return `${path}:${String(line)} -> ${target}${way}`
      }),
  )
}

void t.test('the guard reads the program and finds what it should', (t) => {
  t.ok(program.length > 90, `${String(program.length)} files of the program`)
  t.ok(program.flatMap((source) => source.imports).length > 300)
  const pipeline = findChain(program, 'src/main.ts', 'src/xks/pipeline.ts')
  t.equal(pipeline?.[1], 'src/cli/run.ts', 'there is a way by imports from main to the pipeline')
  t.end()
})

void t.test('an import that goes up is found, with its chain', (t) => {
  const fake = (path: string, target: string): Source => ({
    path,
    text: '',
    tree: ts.createSourceFile(path, '', ts.ScriptTarget.ES2023),
    imports: [{ target, line: 3 }],
  })
  const up = [fake('src/base/a.ts', 'src/xks/b.ts'), fake('src/xks/b.ts', 'src/base/a.ts')]
  t.same(findWrongImports(up), [
    'src/base/a.ts:3 -> src/xks/b.ts, and back by src/xks/b.ts -> src/base/a.ts',
  ])
  t.same(findCycles(up), [['src/base/a.ts', 'src/xks/b.ts', 'src/base/a.ts']])
  const siblings = [fake('src/sigv4/a.ts', 'src/backend/b.ts')]
  t.same(findWrongImports(siblings), ['src/sigv4/a.ts:3 -> src/backend/b.ts'])
  t.same(findWrongImports([fake('src/sigv4/a.ts', 'test/b.ts')]), ['src/sigv4/a.ts:3 -> test/b.ts'])
  t.end()
})

void t.test('imports run from higher ranks to lower ones, and never to a sibling', (t) => {
  for (const { path } of program)
    t.ok(partOf(path) in RANKS, `${path} belongs to a part with a rank`)
  t.same(findWrongImports(program), [])
  t.end()
})

void t.test('the certificates of development know nothing of the program', (t) => {
  const own = program.filter(({ path }) => path.startsWith('certs/'))
  t.same(
    own.flatMap(({ imports }) => imports.filter(({ target }) => target.startsWith('src/'))),
    [],
  )
  t.end()
})

void t.test('ESLint and docs/architecture.md have the same ranks', (t) => {
  const table = /const RANKS = \{([^}]*)\}/.exec(read('eslint.config.js'))?.[1] ?? ''
  const inEslint = [...table.matchAll(/'?([a-z0-9-]+)'?: (\d)/g)].map(
    ([, name = '', rank]) => [name, Number(rank)] as const,
  )
  t.ok(inEslint.length >= 10)
  for (const [name, rank] of inEslint) t.equal(rank, RANKS[name], `${name} in eslint.config.js`)
  const document = read('docs/architecture.md')
  const inDocument = [...document.matchAll(/^\| (\d) \| (.*?) \|/gm)].flatMap(
    ([, rank, names = '']) =>
      [...names.matchAll(/`([a-z0-9-]+)`/g)].map(([, name = '']) => [name, Number(rank)] as const),
  )
  t.same(Object.fromEntries(inDocument), RANKS)
  t.end()
})

void t.test('there is no cycle of imports, not even of types', (t) => {
  t.same(
    findCycles([...program, ...tests]).map((cycle) => cycle.join(' -> ')),
    [],
  )
  t.end()
})

void t.test('no file is longer than 300 lines, but for the generated one', (t) => {
  const scripts = listFiles('.ci').filter((path) => path.endsWith('.mjs'))
  const long = [...program.map(({ path }) => path), ...tests.map(({ path }) => path), ...scripts]
    .filter((path) => !isGenerated(path))
    .map((path) => ({ path, lines: read(path).split('\n').length - 1 }))
    .filter(({ lines }) => lines > MAX_LINES)
  t.same(long, [])
  t.end()
})

/** What is not ours, and says where it is from. */
const LICENCES: ReadonlyMap<string, string> = new Map([
  ['src/cli/doctor/aws-authorities.ts', 'CC-BY-SA-4.0'],
])

void t.test('each file says what it holds, and under which licence', (t) => {
  for (const { path, text } of [...program, ...tests]) {
    if (isGenerated(path)) continue
    t.match(text, /^(?:#!.*\n)?\/\*\*/, `${path} starts with what it holds`)
    const head = text.split('\n').slice(0, 12)
    const licence = LICENCES.get(path) ?? 'Apache-2.0'
    t.ok(head.includes(`// SPDX-License-Identifier: ${licence}`), `${path} names its licence`)
  }
  t.end()
})

const SRC = program.filter(({ path }) => path.startsWith('src/'))
const outside = (...allowed: readonly string[]) =>
  SRC.filter(({ path }) => !allowed.some((place) => path.startsWith(place)))

void t.test('only base/clock.ts reads a clock', (t) => {
  const sources = outside('src/base/clock.ts')
  t.same(
    sources.flatMap((source) => findUses(source, 'Date', 'now')),
    [],
  )
  t.same(
    sources.flatMap((source) => findUses(source, 'performance')),
    [],
  )
  t.same(
    sources.flatMap((source) => findUses(source, 'process', 'hrtime')),
    [],
  )
  const nowAsDate = sources.flatMap(({ path, text }) => (text.includes('new Date()') ? [path] : []))
  t.same(nowAsDate, [])
  const [clock] = SRC.filter(({ path }) => path === 'src/base/clock.ts')
  t.ok(clock && findUses(clock, 'Date', 'now').length === 1, 'the guard finds it where it is')
  t.end()
})

void t.test('only config, cli and main read the environment, and main alone the arguments', (t) => {
  t.same(
    outside('src/config/', 'src/cli/', 'src/main.ts').flatMap((s) => findUses(s, 'process', 'env')),
    [],
  )
  t.same(
    outside('src/main.ts').flatMap((source) => findUses(source, 'process', 'argv')),
    [],
  )
  t.end()
})

void t.test('nothing writes to the console', (t) => {
  t.same(
    SRC.flatMap((source) => findUses(source, 'console')),
    [],
  )
  t.end()
})

void t.test('no file only passes on what others export', (t) => {
  const barrels = [...program, ...tests].filter(
    ({ tree }) =>
      tree.statements.length > 0 &&
      tree.statements.every(
        (statement) => ts.isImportDeclaration(statement) || ts.isExportDeclaration(statement),
      ) &&
      tree.statements.some(ts.isExportDeclaration),
  )
  t.same(
    barrels.map(({ path }) => path),
    [],
  )
  t.end()
})

void t.test('files and folders are named for what they hold', (t) => {
  const EMPTY_NAME = /^(?:utils?|helpers?|common|misc|shared|lib|index)$/
  const named = [...program, ...tests].flatMap(({ path }) => [
    basename(path).replace(/(?:\.test)?\.ts$/, ''),
    ...dirname(path).split('/'),
  ])
  t.same(
    named.filter((name) => EMPTY_NAME.test(name)),
    [],
  )
  t.same(
    program.map(({ path }) => path).filter((path) => !/^[a-z0-9/.-]+$/.test(path)),
    [],
    'kebab-case',
  )
  t.end()
})
