/** Defines general mutation operators on the syntax tree. Each applies to certain kinds of nodes. */
// SPDX-License-Identifier: Apache-2.0
import ts from 'typescript'

/** A source file with a single mistake. */
export interface Mutant {
  /** Name of the operator, or of a mistake that a test defines itself. */
  readonly name: string
  /** Name of the innermost enclosing function, or the module's top level. */
  readonly where: string
  /** The node as printed by the compiler on one line, independent of formatting. */
  readonly node: string
  /** The complete source code with the mistake. */
  readonly source: string
}

export interface Edit {
  readonly node: ts.Node
  readonly text: string
}

const { SyntaxKind: Kind } = ts

/** Typical mistakes in comparisons: off by one, or the wrong direction. */
const COMPARISONS: ReadonlyMap<ts.SyntaxKind, string> = new Map([
  [Kind.LessThanToken, '<='],
  [Kind.LessThanEqualsToken, '<'],
  [Kind.GreaterThanToken, '>='],
  [Kind.GreaterThanEqualsToken, '>'],
  [Kind.EqualsEqualsEqualsToken, '!=='],
  [Kind.ExclamationEqualsEqualsToken, '==='],
])

const CALCULATIONS: ReadonlyMap<ts.SyntaxKind, string> = new Map([
  [Kind.PlusToken, '-'],
  [Kind.MinusToken, '+'],
  [Kind.AsteriskToken, '+'],
  [Kind.SlashToken, '*'],
  [Kind.AmpersandToken, '|'],
  [Kind.BarToken, '&'],
  [Kind.CaretToken, '|'],
  [Kind.BarEqualsToken, '='],
  [Kind.PlusEqualsToken, '-='],
  [Kind.MinusEqualsToken, '+='],
])

const LOGICAL = new Set([
  Kind.AmpersandAmpersandToken,
  Kind.BarBarToken,
  Kind.QuestionQuestionToken,
])
const QUANTIFIERS: ReadonlyMap<string, string> = new Map([
  ['some', 'every'],
  ['every', 'some'],
])

type Operator = (node: ts.Node, tree: ts.SourceFile) => readonly Edit[]

/** Creates a mutation operator that replaces the operator of a binary expression. */
const withToken =
  (tokens: ReadonlyMap<ts.SyntaxKind, string>): Operator =>
  (node) => {
    if (!ts.isBinaryExpression(node)) return []
    const text = tokens.get(node.operatorToken.kind)
    return text === undefined ? [] : [{ node: node.operatorToken, text }]
  }

/** Replaces a condition with `true` or `false`. Skips `for` and `do` loops, and never makes a `while` loop endless. */
const condition: Operator = (node) => {
  if (ts.isIfStatement(node)) return both(node.expression)
  if (ts.isConditionalExpression(node)) return both(node.condition)
  if (ts.isWhileStatement(node)) return [{ node: node.expression, text: 'false' }]
  return []
}

const both = (node: ts.Node): readonly Edit[] => [
  { node, text: 'true' },
  { node, text: 'false' },
]

const operand: Operator = (node, tree) =>
  ts.isBinaryExpression(node) && LOGICAL.has(node.operatorToken.kind)
    ? [node.left, node.right].map((kept) => ({ node, text: `(${kept.getText(tree)})` }))
    : []

const negation: Operator = (node, tree) =>
  ts.isPrefixUnaryExpression(node) && node.operator === Kind.ExclamationToken
    ? [{ node, text: `(${node.operand.getText(tree)})` }]
    : []

/** Deletes an expression statement. */
const statement: Operator = (node) => (ts.isExpressionStatement(node) ? [{ node, text: ';' }] : [])

const isText = (node: ts.Node): node is ts.StringLiteral =>
  ts.isStringLiteral(node) &&
  !node.text.includes(' ') &&
  !ts.isImportDeclaration(node.parent) &&
  !(ts.isPropertyAssignment(node.parent) && node.parent.name === node)

/** Replaces a name, code or header with the next one in the module. Sentences are left unchanged. */
const text: Operator = (node, tree) => {
  if (!isText(node)) return []
  const all = [
    ...new Set(
      valuesOf(tree)
        .filter(isText)
        .map((one) => one.text),
    ),
  ]
  const other = all[(all.indexOf(node.text) + 1) % all.length]
  return [{ node, text: JSON.stringify(other === node.text ? `${node.text}-` : other) }]
}

const number: Operator = (node) =>
  ts.isNumericLiteral(node) ? [{ node, text: Number(node.text) === 0 ? '1' : '0' }] : []

/** Deletes an array element, including the comma after it. */
const element: Operator = (node) =>
  ts.isArrayLiteralExpression(node) ? node.elements.map((one) => ({ node: one, text: '' })) : []

/** Deletes a property. Skips methods, because a missing method is always detected. */
const property: Operator = (node) =>
  ts.isObjectLiteralExpression(node)
    ? node.properties
        .filter(
          (one) =>
            ts.isShorthandPropertyAssignment(one) ||
            ts.isSpreadAssignment(one) ||
            (ts.isPropertyAssignment(one) && !ts.isArrowFunction(one.initializer)),
        )
        .map((one) => ({ node: one, text: '' }))
    : []

const call: Operator = (node, tree) => {
  if (!ts.isCallExpression(node) || !ts.isPropertyAccessExpression(node.expression)) return []
  const { expression, name } = node.expression
  const other = QUANTIFIERS.get(name.text)
  if (other !== undefined) return [{ node: name, text: other }]
  const [first] = node.arguments
  return expression.getText(tree) === 'Math' && first !== undefined
    ? [{ node, text: `(${first.getText(tree)})` }]
    : []
}

const OPERATORS: Readonly<Record<string, Operator>> = {
  'a condition is fixed': condition,
  'an operand is left out': operand,
  'a comparison is another': withToken(COMPARISONS),
  'a calculation is another': withToken(CALCULATIONS),
  'a negation is left out': negation,
  'a statement is left out': statement,
  'a text is another': text,
  'a number is another': number,
  'an element is left out': element,
  'a property is left out': property,
  'a call is another': call,
}

/** Returns every node that exists at run time. */
export function valuesOf(node: ts.Node): readonly ts.Node[] {
  const all: ts.Node[] = []
  const visit = (one: ts.Node) => {
    if (ts.isTypeNode(one) || ts.isInterfaceDeclaration(one) || ts.isTypeAliasDeclaration(one))
      return
    all.push(one)
    ts.forEachChild(one, visit)
  }
  visit(node)
  return all
}

/** Returns the end of the edit, including the comma after a deleted element. */
function endOf({ node, text }: Edit, source: string): number {
  const end = node.getEnd()
  return text === '' && source[end] === ',' ? end + 1 : end
}

const printer = ts.createPrinter({ removeComments: true })

export function print(node: ts.Node, tree: ts.SourceFile): string {
  return printer.printNode(ts.EmitHint.Unspecified, node, tree).replace(/\s+/g, ' ')
}

/** Returns the innermost named function that contains a node. */
export function functionOf(node: ts.Node): string {
  for (let at = node.parent as ts.Node | undefined; at !== undefined; at = at.parent) {
    const named = ts.isArrowFunction(at) ? at.parent : at
    const isNamed =
      ts.isFunctionDeclaration(named) ||
      ts.isMethodDeclaration(named) ||
      ts.isConstructorDeclaration(named) ||
      ((ts.isVariableDeclaration(named) || ts.isPropertyAssignment(named)) &&
        ts.isArrowFunction(at))
    if (isNamed) return named.name?.getText() ?? 'constructor'
  }
  return 'the module'
}

export function toMutant(name: string, edit: Edit, tree: ts.SourceFile): Mutant {
  const { node, text: changed } = edit
  const isToken = node.kind >= Kind.FirstPunctuation && node.kind <= Kind.LastPunctuation
  // A bare literal or token would not identify the place, so show its parent node.
  const shown = isToken || ts.isLiteralExpression(node) ? node.parent : node
  return {
    name: changed === '' ? name : `${name}: ${changed}`,
    where: functionOf(node),
    node: print(shown, tree),
    source:
      tree.text.slice(0, node.getStart(tree)) + changed + tree.text.slice(endOf(edit, tree.text)),
  }
}

/** Returns every mutant that the operators produce from a source file. */
export function mutantsOf(tree: ts.SourceFile): readonly Mutant[] {
  return valuesOf(tree).flatMap((node) =>
    Object.entries(OPERATORS).flatMap(([name, operator]) =>
      operator(node, tree).map((edit) => toMutant(name, edit, tree)),
    ),
  )
}
