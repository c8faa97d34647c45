/** The configuration, described for editors (JSON Schema) and for people (Markdown). */
// SPDX-License-Identifier: Apache-2.0
import { CONFIG_SCHEMA } from './schema.ts'
import type { Schema } from './sections/section.ts'

/** docs/latchkey.schema.json: name it in a `# yaml-language-server: $schema=` line. */
export function describeAsJsonSchema(): string {
  const head = {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'latchkey.yaml',
  }
  return `${JSON.stringify({ ...head, ...CONFIG_SCHEMA }, undefined, 2)}\n`
}

/** The generated part of docs/configuration.md. */
export function describeAsMarkdown(): string {
  const rows = Object.entries(CONFIG_SCHEMA.properties ?? {}).map(([name, schema]) => {
    const required = CONFIG_SCHEMA.required?.includes(name) === true
    const lines = toRows(name, schema, required).slice(1)
    return [
      `## \`${name}\``,
      '',
      schema.description ?? '',
      '',
      '| setting | type | default | meaning |',
      '|---|---|---|---|',
      ...lines,
      '',
    ].join('\n')
  })
  return rows.join('\n')
}

function toRows(path: string, schema: Schema, required: boolean): readonly string[] {
  const own = `| \`${path}\` | ${toType(schema)} | ${toDefault(schema, required)} | ${schema.description ?? ''} |`
  const children = schema.items?.type === 'object' ? schema.items : schema
  const prefix = schema.items === undefined ? path : `${path}[]`
  const nested = Object.entries(children.properties ?? {}).flatMap(([name, child]) =>
    toRows(`${prefix}.${name}`, child, children.required?.includes(name) === true),
  )
  return [own, ...nested]
}

function toType(schema: Schema): string {
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${value}\``).join(', ')
  if (schema.pattern?.includes('ms|s') === true) return 'time: `200ms`, `5s`, `5m`, `1h`'
  if (schema.items !== undefined) return `list of ${schema.items.type ?? 'value'}s`
  const { minimum, maximum } = schema
  return minimum === undefined || maximum === undefined
    ? (schema.type ?? '')
    : `${schema.type ?? ''}, ${String(minimum)} to ${String(maximum)}`
}

function toDefault(schema: Schema, required: boolean): string {
  if (required) return '**required**'
  const { default: value } = schema
  if (value === undefined || typeof value === 'object') return ''
  return `\`${JSON.stringify(value)}\``
}
