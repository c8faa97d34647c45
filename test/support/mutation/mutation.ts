/**
 * Runs test files against mutants of a module, each with a single mistake, and requires that the tests detect every
 * mistake.
 */
// SPDX-License-Identifier: Apache-2.0
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import ts from 'typescript'
import { read } from '../repository.ts'
import { mutantsOf, toMutant, valuesOf, type Edit, type Mutant } from './operators.ts'
import type { Verdict, Work } from './runner.ts'

/** A mistake that the general operators do not produce: the node to change, and its replacement. */
export interface Mistake {
  /** Description of the mistake, as a sentence. */
  readonly name: string
  /** Must match exactly one node. */
  readonly find: (node: ts.Node, tree: ts.SourceFile) => boolean
  readonly to: string | ((node: ts.Node, tree: ts.SourceFile) => string)
}

/** Mutants that no test can detect, each with the reason. */
export interface Exception {
  readonly where: string
  readonly name: string
  readonly node: string
  readonly reason: string
}

export interface Mutation {
  /** Path relative to the project root, such as `src/sigv4/verify.ts`. */
  readonly module: string
  /**
   * Paths relative to test/, such as `unit/sigv4/verify.test.ts`. At least one of the files must fail for each mutant.
   */
  readonly tests: readonly string[]
  /** Whether to mutate the named function (default: mutate all). */
  readonly appliesTo?: (name: string) => boolean
  readonly mistakes?: readonly Mistake[]
  readonly exceptions?: readonly Exception[]
  /** Minimum number of mutants, so that a change to the operators cannot silently leave the test without mutants. */
  readonly atLeast: number
}

const BUILD = new URL('../../../', import.meta.url).href
const RUNNER = fileURLToPath(new URL('./runner.js', import.meta.url))
/** A mutant whose tests take longer counts as endless, and therefore as detected. */
const PATIENCE_MS = 20_000

const OPTIONS: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2023,
  module: ts.ModuleKind.ESNext,
  verbatimModuleSyntax: true,
  rewriteRelativeImportExtensions: true,
}

const compile = (source: string) =>
  ts.transpileModule(source, { compilerOptions: OPTIONS, fileName: 'mutant.ts' }).outputText

const built = (path: string) => new URL(path.replace(/\.ts$/, '.js'), BUILD).href

/** An endless mutant counts as detected. */
type Outcome = 'noticed' | 'survives' | 'endless'

/**
 * Runs the mutants, starting with `work.from`, until all are done or one takes too long.
 * @returns the next mutant to run
 */
function runFrom(work: Work, outcomes: Outcome[]): Promise<number> {
  const child = fork(RUNNER, { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] })
  child.send(work)
  let next = work.from
  const giveUp = () => {
    child.kill('SIGKILL')
  }
  let timer = setTimeout(giveUp, PATIENCE_MS)
  child.on('message', (message) => {
    const { mutant, isNoticed } = message as Verdict
    outcomes[mutant] = isNoticed ? 'noticed' : 'survives'
    next = mutant + 1
    clearTimeout(timer)
    timer = setTimeout(giveUp, PATIENCE_MS)
  })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', () => {
      clearTimeout(timer)
      if (next < work.texts.length) outcomes[next++] = 'endless'
      resolve(next)
    })
  })
}

/** Locates the mistakes that a test defines itself. Each must match exactly one node. */
function findMistakes(t: Test, tree: ts.SourceFile, mistakes: readonly Mistake[]): Mutant[] {
  return mistakes.flatMap(({ name, find, to }) => {
    const nodes = valuesOf(tree).filter((node) => node !== tree && find(node, tree))
    t.equal(nodes.length, 1, `there is one place for: ${name}`)
    return nodes.map((node) => {
      const edit: Edit = { node, text: typeof to === 'string' ? to : to(node, tree) }
      return { ...toMutant(name, edit, tree), name }
    })
  })
}

/** Requires that every mutant is detected or listed as an exception, and that the unmodified module passes. */
export async function killAll(t: Test, mutation: Mutation): Promise<void> {
  const { module, appliesTo = () => true, mistakes = [], exceptions = [], atLeast } = mutation
  const source = read(module)
  const tree = ts.createSourceFile(module, source, ts.ScriptTarget.ES2023, true)
  const made = mutantsOf(tree).filter(({ where }) => appliesTo(where))
  const mutants = [...made, ...findMistakes(t, tree, mistakes)]
  t.ok(mutants.length >= atLeast, `${String(mutants.length)} mutants`)
  const work = {
    build: BUILD,
    module: built(module),
    tests: mutation.tests.map((test) => built(`test/${test}`)),
    texts: [source, ...mutants.map((mutant) => mutant.source)].map(compile),
  }
  const outcomes: Outcome[] = []
  for (let from = 0; from < work.texts.length;) from = await runFrom({ ...work, from }, outcomes)
  t.equal(outcomes[0], 'survives', 'unchanged, it passes')

  const used = new Set<Exception>()
  const survivors = mutants.filter((mutant, at) => {
    const outcome = outcomes[at + 1]
    if (outcome === 'noticed') return false
    const exception = exceptions.find(
      ({ where, name, node }) =>
        where === mutant.where && mutant.name.startsWith(name) && node === mutant.node,
    )
    if (exception !== undefined) used.add(exception)
    return outcome === 'survives' && exception === undefined
  })
  for (const { name, where, node } of survivors) t.fail(`${where}: ${name}, in: ${node}`)
  t.same(
    exceptions.filter((exception) => !used.has(exception)),
    [],
    'each exception is of a mutant that survives',
  )
}
