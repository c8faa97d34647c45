/** Validators of requests and serialisers of responses, compiled from openapi.yaml when the server starts. */
// SPDX-License-Identifier: Apache-2.0
import { Ajv2020, type ErrorObject } from 'ajv/dist/2020.js'
import fastJson, { type Schema } from 'fast-json-stringify'
import { loadOpenApiDocument, type JsonSchema } from './document.ts'
import type { components } from './types.gen.ts'

type Schemas = components['schemas']

export type RequestSchemaName =
  'GetKeyMetadataRequest' | 'EncryptRequest' | 'DecryptRequest' | 'GetHealthStatusRequest'

export type AdminRequestSchemaName =
  'AdminStopRequest' | 'AdminRestoreRequest' | 'AdminLeaseRequest' | 'AdminReason'

export type ResponseSchemaName =
  | 'GetKeyMetadataResponse'
  | 'EncryptResponse'
  | 'DecryptResponse'
  | 'GetHealthStatusResponse'
  | 'ErrorResponse'
  | 'PingResponse'

export interface SchemaFault {
  /** Where, as a JSON pointer into the body; empty for the body as a whole. */
  readonly pointer: string
  readonly message: string
}

export interface ApiSchemas {
  /** Version of the product, which is that of the document. */
  readonly version: string
  /** The first fault of `value`, or undefined when it is valid. Never changes `value`. */
  check(name: RequestSchemaName | AdminRequestSchemaName, value: unknown): SchemaFault | undefined
  /** Compact JSON on a single line; only the fields that the schema names are written. */
  encode<Name extends ResponseSchemaName>(name: Name, value: Schemas[Name]): string
}

const REQUESTS: readonly (RequestSchemaName | AdminRequestSchemaName)[] = [
  'GetKeyMetadataRequest',
  'EncryptRequest',
  'DecryptRequest',
  'GetHealthStatusRequest',
  'AdminStopRequest',
  'AdminRestoreRequest',
  'AdminLeaseRequest',
  'AdminReason',
]
const RESPONSES: readonly ResponseSchemaName[] = [
  'GetKeyMetadataResponse',
  'EncryptResponse',
  'DecryptResponse',
  'GetHealthStatusResponse',
  'ErrorResponse',
  'PingResponse',
]

/** `#/components/schemas/X` becomes `#/$defs/X`, so that each schema stands alone. */
function toStandalone(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(toStandalone)
  if (typeof node !== 'object' || node === null) return node
  return Object.fromEntries(
    Object.entries(node).map(([key, value]) => [
      key,
      key === '$ref' && typeof value === 'string'
        ? value.replace('#/components/schemas/', '#/$defs/')
        : toStandalone(value),
    ]),
  )
}

function toFault(error: ErrorObject | undefined): SchemaFault {
  return { pointer: error?.instancePath ?? '', message: error?.message ?? 'is not valid' }
}

export function createApiSchemas(): ApiSchemas {
  const document = loadOpenApiDocument()
  const definitions = toStandalone(document.components.schemas) as Record<string, JsonSchema>
  const schemaOf = (name: string): JsonSchema => ({ $defs: definitions, ...definitions[name] })

  // No coercion, no defaults: what was signed is what is judged, unchanged. strictRequired is off
  // because allOf names a required field beside the schema that describes it.
  const ajv = new Ajv2020({
    strict: true,
    strictRequired: false,
    allErrors: false,
    addUsedSchema: false,
  })
  const validators = new Map(REQUESTS.map((name) => [name, ajv.compile(schemaOf(name))]))
  const serialisers = new Map(
    RESPONSES.map((name) => [name, fastJson(schemaOf(name) as unknown as Schema)]),
  )

  return {
    version: document.info.version,
    check(name, value) {
      const validate = validators.get(name)
      if (validate === undefined) throw new TypeError(`no schema is called ${name}`)
      return validate(value) ? undefined : toFault(validate.errors?.[0])
    },
    encode(name, value) {
      const serialise = serialisers.get(name)
      if (serialise === undefined) throw new TypeError(`no schema is called ${name}`)
      return serialise(value)
    },
  }
}
