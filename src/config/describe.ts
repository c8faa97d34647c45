/** Describes the configuration for editors (JSON Schema) and for people (Markdown). */
// SPDX-License-Identifier: Apache-2.0
import { CONFIG_SCHEMA } from './schema.ts'
import type { Schema } from './setting.ts'

/**
 * Returns the contents of docs/latchkey.schema.json, to which a `# yaml-language-server: $schema=`
 * line points editors.
 */
export function describeAsJsonSchema(): string {
  const head = {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'latchkey.yaml',
  }
  return `${JSON.stringify({ ...head, ...CONFIG_SCHEMA }, undefined, 2)}\n`
}

/** Returns the generated part of docs/configuration.md: a heading and a table for each section. */
export function describeAsMarkdown(): string {
  const sections = Object.entries(CONFIG_SCHEMA.properties ?? {}).map(([name, schema]) => {
    const isRequired = CONFIG_SCHEMA.required?.includes(name) === true
    return [
      `## \`${name}\``,
      '',
      `${schema.description ?? ''}${isRequired ? ' Required.' : ''}`,
      '',
      '| setting | type | default | description |',
      '|---|---|---|---|',
      ...((schema.properties ?? schema.items)
        ? toChildRows(name, schema)
        : [toRow(name, schema, false)]),
      '',
    ].join('\n')
  })
  return sections.join('\n')
}

function toChildRows(path: string, schema: Schema): readonly string[] {
  const holder = schema.items?.type === 'object' ? schema.items : schema
  const prefix = holder === schema ? path : `${path}[]`
  return Object.entries(holder.properties ?? {}).flatMap(([name, child]) => {
    const own = `${prefix}.${name}`
    const isRequired = holder.required?.includes(name) === true
    return [toRow(own, child, isRequired), ...toChildRows(own, child)]
  })
}

function toRow(path: string, schema: Schema, isRequired: boolean): string {
  const cells = [`\`${path}\``, toType(schema), toDefault(schema, isRequired), toMeaning(schema)]
  return `| ${cells.map(escapeCell).join(' | ')} |`
}

function toType(schema: Schema): string {
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${value}\``).join(', ')
  if (schema.patternErrorMessage?.startsWith('a duration') === true) return 'duration'
  if (schema.items !== undefined) return schema.items.type === 'object' ? 'list' : 'list of strings'
  if (schema.type === 'object') return schema.minProperties === 1 ? 'one of' : 'settings'
  if (schema.type === 'string') return 'string'
  const { minimum, maximum } = schema
  if (minimum === undefined || maximum === undefined) return String(schema.type ?? '')
  const range = `number, ${count(minimum)} to ${count(maximum)}`
  return Array.isArray(schema.type) ? `${range}, or \`auto\`` : range
}

function toDefault(schema: Schema, isRequired: boolean): string {
  if (isRequired) return '**required**'
  const { default: value } = schema
  if (value === '') return 'empty'
  const isShown =
    typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
  return isShown ? `\`${String(value)}\`` : ''
}

function toMeaning({ description, examples }: Schema): string {
  const shown = examples?.map((example) =>
    typeof example === 'string' ? `\`${example}\`` : `\`[${String(example)}]\``,
  )
  return [description ?? '', ...(shown ? [`Example: ${shown.join(', ')}.`] : [])].join(' ')
}

function count(value: number): string {
  return value >= 1000 ? value.toLocaleString('en-US') : String(value)
}

function escapeCell(text: string): string {
  return text.replaceAll('|', '\\|')
}
