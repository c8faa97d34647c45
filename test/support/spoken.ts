/** What the code says in words: codes with their sentences, reasons, log messages, names of tests. */
// SPDX-License-Identifier: Apache-2.0
import ts from 'typescript'
import { nodesOf, type Source } from './source.ts'

/** Codes of a union such as `BackendErrorCode`, each with the comment behind it. */
export function findCodes(sources: readonly Source[], union: string): ReadonlyMap<string, string> {
  const declaration = new RegExp(`type ${union} =\\n((?: {2}\\| '[A-Z_]+'.*\\n)+)`)
  const body = sources.map(({ text }) => declaration.exec(text)?.[1]).find(Boolean)
  if (body === undefined) throw new Error(`there is no union ${union}`)
  return new Map(
    body
      .trimEnd()
      .split('\n')
      .map((line) => {
        const [, code = '', sentence = ''] = /\| '([A-Z_]+)'(?: \/\/ (.*))?$/.exec(line) ?? []
        return [code, sentence] as const
      }),
  )
}

/** Every constant that is given as `reason: '…'`. */
export function findReasons(sources: readonly Source[]): readonly string[] {
  const all = sources.flatMap(({ text }) => [...text.matchAll(/\breason: '([A-Z_]+)'/g)])
  return [...new Set(all.map(([, reason = '']) => reason))]
}

const LEVELS = new Set(['debug', 'info', 'warn', 'error'])

/** Sentences in calls of `logger.info('…', fields)`, and as `msg: '…'`. */
export function findLogMessages(sources: readonly Source[]): readonly string[] {
  const messages = sources.flatMap(({ tree }) =>
    nodesOf(tree).flatMap((node) => {
      if (ts.isPropertyAssignment(node) && node.name.getText(tree) === 'msg')
        return ts.isStringLiteral(node.initializer) ? [node.initializer.text] : []
      if (!ts.isCallExpression(node) || !ts.isPropertyAccessExpression(node.expression)) return []
      const { name, expression } = node.expression
      const isLogger = /(?:^|\.)logger$/.test(expression.getText(tree))
      if (!isLogger || !LEVELS.has(name.text)) return []
      return node.arguments.filter(ts.isStringLiteral).map(({ text }) => text)
    }),
  )
  return [...new Set(messages)]
}

/** Ids such as `ENC-7` of texts that start with `[ENC-7]`, or with several of them. */
export function findRequirementIds(source: Source): ReadonlySet<string> {
  const texts = nodesOf(source.tree).flatMap((node) =>
    ts.isStringLiteralLike(node) || ts.isTemplateHead(node) ? [node.text] : [],
  )
  const starts = texts.map((text) => /^(?:\[[A-Z0-9]+-\d+\] ?)+/.exec(text)?.[0] ?? '')
  return new Set(starts.flatMap((start) => start.match(/[A-Z0-9]+-\d+/g) ?? []))
}
