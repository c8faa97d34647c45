/** Checks the source structure: permitted imports, file lengths, and APIs that are restricted to one place. */
// SPDX-License-Identifier: Apache-2.0
import { basename, dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import ts from 'typescript'
import { listFiles, read, ROOT } from '../support/repository.ts'
import { findChain, findCycles, findUses, loadSources, type Source } from '../support/source.ts'

interface Component {
  readonly rank: number
  readonly holds: string
  readonly imports: readonly string[]
  readonly types?: readonly string[]
}

const { COMPONENTS } = (await import(pathToFileURL(join(ROOT, 'eslint.config.js')).href)) as {
  readonly COMPONENTS: Readonly<Record<string, Component>>
}

const MAX_LINES = 300
const MAX_ROOMS = 22
const isGenerated = (path: string) => path.endsWith('.gen.ts')

const program = loadSources('src', 'certs', 'bench')
const tests = loadSources('test')

/** Returns a file's component: a folder below src, main.ts, or a folder next to src. */
function componentOf(path: string): string {
  const [first = '', second = ''] = path.split('/')
  return first === 'src' ? second.replace(/\.ts$/, '') : first
}

/** Returns a message for each import that the component table does not permit. */
function findWrongImports(sources: readonly Source[]): readonly string[] {
  return sources.flatMap(({ path, imports }) =>
    imports
      .filter(({ target }) => target.endsWith('.ts'))
      .filter(({ target, isType }) => {
        const from = componentOf(path)
        const to = componentOf(target)
        const component = COMPONENTS[from]
        const isNamed =
          component?.imports.includes(to) === true ||
          (isType && component?.types?.includes(to) === true)
        return to !== from && !isNamed
      })
      .map(({ target, line }) => {
        const back = findChain(sources, target, path)
        const way = back === undefined ? '' : `, and back by ${back.join(' -> ')}`
        return `${path}:${String(line)} -> ${target}${way}`
      }),
  )
}

void t.test('the guard parses the program and detects known violations', (t) => {
  t.ok(program.length > 90, `${String(program.length)} files of the program`)
  t.ok(program.flatMap((source) => source.imports).length > 300)
  const pipeline = findChain(program, 'src/main.ts', 'src/xks/pipeline.ts')
  t.equal(pipeline?.[1], 'src/cli/run.ts', 'there is a way by imports from main to the pipeline')
  t.end()
})

void t.test('an upward import is detected, with its chain', (t) => {
  const fake = (path: string, target: string, isType = false): Source => ({
    path,
    text: '',
    tree: ts.createSourceFile(path, '', ts.ScriptTarget.ES2023),
    imports: [{ target, line: 3, isType }],
  })
  const up = [fake('src/core/a.ts', 'src/xks/b.ts'), fake('src/xks/b.ts', 'src/core/a.ts')]
  t.same(findWrongImports(up), [
    'src/core/a.ts:3 -> src/xks/b.ts, and back by src/xks/b.ts -> src/core/a.ts',
  ])
  t.same(findCycles(up), [['src/core/a.ts', 'src/xks/b.ts', 'src/core/a.ts']])
  const siblings = [fake('src/sigv4/a.ts', 'src/keys/b.ts')]
  t.same(findWrongImports(siblings), ['src/sigv4/a.ts:3 -> src/keys/b.ts'])
  const type = [fake('src/server/a.ts', 'src/keys/b.ts', true)]
  t.same(findWrongImports(type), [], 'a type may come along an edge for types')
  const value = [fake('src/server/a.ts', 'src/keys/b.ts')]
  t.same(findWrongImports(value), ['src/server/a.ts:3 -> src/keys/b.ts'], 'and nothing else')
  t.same(findWrongImports([fake('src/sigv4/a.ts', 'test/b.ts')]), ['src/sigv4/a.ts:3 -> test/b.ts'])
  t.end()
})

void t.test('imports follow the component table', (t) => {
  for (const { path } of program) {
    t.ok(componentOf(path) in COMPONENTS, `${path} belongs to a component of the table`)
  }
  t.same(findWrongImports(program), [])
  t.end()
})

void t.test('no edge in the table points upward, and each is used', (t) => {
  const used = new Set(
    program.flatMap(({ path, imports }) =>
      imports.map(({ target }) => `${componentOf(path)} -> ${componentOf(target)}`),
    ),
  )
  for (const [name, { rank, imports, types = [] }] of Object.entries(COMPONENTS)) {
    const rankOf = (other: string) => COMPONENTS[other]?.rank ?? Infinity
    for (const other of imports) t.ok(rankOf(other) < rank, `${name} -> ${other} goes down`)
    for (const other of types) t.ok(rankOf(other) <= rank, `${name} -> ${other} is not upward`)
    for (const other of [...imports, ...types]) {
      t.ok(used.has(`${name} -> ${other}`), `${name} -> ${other} is an import that exists`)
    }
  }
  t.end()
})

void t.test('the development PKI does not import the program', (t) => {
  const own = program.filter(({ path }) => path.startsWith('certs/'))
  t.same(
    own.flatMap(({ imports }) => imports.filter(({ target }) => target.startsWith('src/'))),
    [],
  )
  t.end()
})

void t.test('src has at most 22 folders', (t) => {
  const rooms = new Set(
    program
      .map(({ path }) => path)
      .filter((path) => path.startsWith('src/'))
      .map(componentOf),
  )
  t.ok(rooms.size <= MAX_ROOMS, `${String(rooms.size)} rooms`)
  t.end()
})

void t.test('there is no cycle of imports, not even of types', (t) => {
  t.same(
    findCycles([...program, ...tests]).map((cycle) => cycle.join(' -> ')),
    [],
  )
  t.end()
})

void t.test('no file except the generated one is longer than 300 lines', (t) => {
  const scripts = listFiles('.ci').filter((path) => path.endsWith('.mjs'))
  const long = [...program.map(({ path }) => path), ...tests.map(({ path }) => path), ...scripts]
    .filter((path) => !isGenerated(path))
    .map((path) => ({ path, lines: read(path).split('\n').length - 1 }))
    .filter(({ lines }) => lines > MAX_LINES)
  t.same(long, [])
  t.end()
})

/** Third-party files and their licenses. */
const LICENCES: ReadonlyMap<string, string> = new Map([
  ['src/tools/doctor/aws-authorities.ts', 'CC-BY-SA-4.0'],
])

void t.test('each file has a description and a license', (t) => {
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

void t.test('only core/clock.ts reads a clock', (t) => {
  const sources = outside('src/core/clock.ts')
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
  const [clock] = SRC.filter(({ path }) => path === 'src/core/clock.ts')
  t.ok(clock && findUses(clock, 'Date', 'now').length === 1, 'the guard finds it where it is')
  t.end()
})

void t.test('a timer outside deadline.ts and periodic.ts has a comment that explains it', (t) => {
  const commented = ({ path, text }: Source) => {
    const lines = text.split('\n')
    return (place: string) => {
      const line = Number(place.slice(path.length + 1))
      return !/^ *\/\//.test(lines[line - 2] ?? '')
    }
  }
  const places = outside('src/core/deadline.ts', 'src/core/periodic.ts').flatMap((source) =>
    ['setTimeout', 'setInterval']
      .flatMap((name) => findUses(source, name))
      .filter(commented(source)),
  )
  t.same(places, [])
  t.end()
})

void t.test('only config, cli and main read the environment, and main alone the arguments', (t) => {
  t.same(
    outside('src/config/', 'src/cli/', 'src/main.ts', 'src/tools/register/kms-api.ts').flatMap(
      (s) => findUses(s, 'process', 'env'),
    ),
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

void t.test('no file only re-exports other files', (t) => {
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

void t.test('files and folders have descriptive names', (t) => {
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

/** Returns the `open` calls with flags other than r and wx, and all other calls that create files. */
function findCreations({ tree, path }: Source): readonly string[] {
  const found: string[] = []
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node) && ts.isIdentifier(node.expression)) {
      const name = node.expression.text
      const flags = node.arguments[1]
      const isOpen =
        ['open', 'openSync'].includes(name) && flags !== undefined && ts.isStringLiteral(flags)
      if (isOpen && !['r', 'wx'].includes(flags.text)) found.push(`${path}: open ${flags.text}`)
      if (/^(writeFile|appendFile|copyFile|createWriteStream|symlink)/.test(name))
        found.push(`${path}: ${name}`)
    }
    ts.forEachChild(node, visit)
  }
  visit(tree)
  return found
}

void t.test('files are created exclusively, so that no link is followed', (t) => {
  const creations = program
    .filter(({ path }) => path.startsWith('src/'))
    .flatMap((source) => findCreations(source))
  t.same(creations, [])
  const planted = "await open(path, 'w'); await writeFile(path, text)"
  const tree = ts.createSourceFile('x.ts', planted, ts.ScriptTarget.ES2023, true)
  t.equal(findCreations({ tree, path: 'x.ts', text: planted, imports: [] }).length, 2)
  t.end()
})
