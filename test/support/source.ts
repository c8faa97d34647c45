/** Parses TypeScript sources for guard tests on their structure. */
// SPDX-License-Identifier: Apache-2.0
import ts from 'typescript'
import { listFiles, read, resolveFrom } from './repository.ts'

export interface Import {
  /** Path relative to the root for relative imports; otherwise the package name. */
  readonly target: string
  readonly line: number
  /** Whether the import contains only types, so that nothing remains at run time. */
  readonly isType: boolean
}

export interface Source {
  /** Path relative to the root. */
  readonly path: string
  readonly text: string
  readonly tree: ts.SourceFile
  readonly imports: readonly Import[]
}

export function loadSources(...folders: readonly string[]): readonly Source[] {
  return folders
    .flatMap((folder) => listFiles(folder))
    .filter((path) => path.endsWith('.ts'))
    .map(loadSource)
}

function loadSource(path: string): Source {
  const text = read(path)
  const tree = ts.createSourceFile(path, text, ts.ScriptTarget.ES2023, true)
  const imports = nodesOf(tree).flatMap((node) => {
    const specifier = toSpecifier(node)
    if (specifier === undefined) return []
    const target = specifier.startsWith('.') ? resolveFrom(path, specifier) : specifier
    return [{ target, line: lineOf(tree, node), isType: isOfTypes(node) }]
  })
  return { path, text, tree, imports }
}

/** Returns the specifier of `import`, `export … from` or `import(…)`, including type imports. */
function toSpecifier(node: ts.Node): string | undefined {
  const expression =
    ts.isImportDeclaration(node) || ts.isExportDeclaration(node)
      ? node.moduleSpecifier
      : ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword
        ? node.arguments[0]
        : undefined
  return expression !== undefined && ts.isStringLiteral(expression) ? expression.text : undefined
}

/** Recognizes `import type …`, `export type …`, and imports in which every name is marked as a type. */
function isOfTypes(node: ts.Node): boolean {
  if (ts.isExportDeclaration(node)) return node.isTypeOnly
  if (!ts.isImportDeclaration(node)) return false
  const { importClause: clause } = node
  if (clause === undefined) return false
  if (clause.phaseModifier === ts.SyntaxKind.TypeKeyword) return true
  const { namedBindings: names } = clause
  if (clause.name !== undefined || names === undefined || !ts.isNamedImports(names)) return false
  return names.elements.every((element) => element.isTypeOnly)
}

/** Returns a node and all its descendants. */
export function nodesOf(node: ts.Node): readonly ts.Node[] {
  const all: ts.Node[] = []
  const visit = (one: ts.Node) => {
    all.push(one)
    ts.forEachChild(one, visit)
  }
  visit(node)
  return all
}

export function lineOf(tree: ts.SourceFile, node: ts.Node): number {
  return tree.getLineAndCharacterOfPosition(node.getStart(tree)).line + 1
}

/** Returns the places that refer to `object.property`, or to `object` if no property is given. */
export function findUses(source: Source, object: string, property?: string): readonly string[] {
  return nodesOf(source.tree)
    .filter((node) =>
      property === undefined
        ? ts.isIdentifier(node) && node.text === object && isValue(node)
        : ts.isPropertyAccessExpression(node) &&
          node.expression.getText(source.tree) === object &&
          node.name.text === property,
    )
    .map((node) => `${source.path}:${String(lineOf(source.tree, node))}`)
}

/** Returns false for a name that is only a property of another object. */
function isValue(node: ts.Identifier): boolean {
  const { parent } = node
  if (ts.isPropertyAccessExpression(parent)) return parent.name !== node
  return !ts.isPropertyAssignment(parent) || parent.name !== node
}

/** Returns each import cycle once, as a list of files that ends with its first file: `a`, `b`, …, `a`. */
export function findCycles(sources: readonly Source[]): readonly (readonly string[])[] {
  const byPath = new Map(sources.map((source) => [source.path, source]))
  const done = new Set<string>()
  const cycles: (readonly string[])[] = []
  const visit = (path: string, trail: readonly string[]) => {
    const at = trail.indexOf(path)
    if (at >= 0) {
      cycles.push([...trail.slice(at), path])
      return
    }
    const source = byPath.get(path)
    if (source === undefined || done.has(path)) return
    for (const { target } of source.imports) visit(target, [...trail, path])
    done.add(path)
  }
  for (const { path } of sources) visit(path, [])
  return cycles
}

/** Returns the shortest import chain between two files, or undefined. */
export function findChain(
  sources: readonly Source[],
  from: string,
  to: string,
): readonly string[] | undefined {
  const byPath = new Map(sources.map((source) => [source.path, source]))
  const seen = new Set([from])
  const queue: (readonly string[])[] = [[from]]
  for (const trail of queue) {
    const last = trail.at(-1) ?? ''
    if (last === to) return trail
    for (const { target } of byPath.get(last)?.imports ?? []) {
      if (seen.has(target)) continue
      seen.add(target)
      queue.push([...trail, target])
    }
  }
  return undefined
}
