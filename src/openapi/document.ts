/** Finds and reads openapi.yaml, which travels with the package, beside package.json. */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import { parse } from 'yaml'

export type JsonSchema = Readonly<Record<string, unknown>>

export interface OpenApiDocument {
  readonly info: { readonly version: string }
  readonly components: { readonly schemas: Readonly<Record<string, JsonSchema>> }
}

/** The package's root is two folders up from the source, three from the build in dist/. */
const CANDIDATES = ['../../openapi.yaml', '../../../openapi.yaml']

/** @throws Error when the package was installed without the file; it cannot run then */
export function loadOpenApiDocument(): OpenApiDocument {
  for (const candidate of CANDIDATES) {
    try {
      return parse(readFileSync(new URL(candidate, import.meta.url), 'utf8')) as OpenApiDocument
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  }
  throw new Error('openapi.yaml is missing from the installed package')
}
