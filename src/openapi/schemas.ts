/**
 * Compiles request validators and response serializers from openapi.yaml when the server starts.
 */
// SPDX-License-Identifier: Apache-2.0
import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js'
import fastJson, { type Schema } from 'fast-json-stringify'
import { SCHEMAS, VERSION } from './document.gen.ts'
import type { components } from './types.gen.ts'

type Schemas = components['schemas']

export type RequestSchemaName =
  'GetKeyMetadataRequest' | 'EncryptRequest' | 'DecryptRequest' | 'GetHealthStatusRequest'

export type AdminRequestSchemaName =
  | 'AdminStopRequest'
  | 'AdminRehearsalRequest'
  | 'AdminRestoreRequest'
  | 'AdminDeadmanRequest'
  | 'AdminDrillRequest'
  | 'AdminReason'
  | 'AdminKeyCreateRequest'
  | 'AdminKeyChangeRequest'
  | 'AdminRetirementRequest'
  | 'AdminCredentialCreateRequest'
  | 'AdminCredentialChangeRequest'
  | 'AdminPolicyChangeRequest'
  | 'AdminOperatorRequest'
  | 'AdminTokenRequest'
  | 'AdminLoginRequest'

export type ResponseSchemaName =
  | 'GetKeyMetadataResponse'
  | 'EncryptResponse'
  | 'DecryptResponse'
  | 'GetHealthStatusResponse'
  | 'ErrorResponse'
  | 'PingResponse'

export interface SchemaFault {
  /** Location as a JSON pointer into the body; empty for the whole body. */
  readonly pointer: string
  readonly message: string
}

export interface ApiSchemas {
  /** Product version, which is also the document's version. */
  readonly version: string
  /** Returns the first error in `value`, or undefined if it is valid. Never modifies `value`. */
  check(name: RequestSchemaName | AdminRequestSchemaName, value: unknown): SchemaFault | undefined
  /** Returns compact JSON on a single line, with only the fields that the schema names. */
  encode<Name extends ResponseSchemaName>(name: Name, value: Schemas[Name]): string
}

/**
 * Schemas compiled at startup, so that the first request is not delayed. Schemas for admin requests
 * are compiled on first use.
 */
const REQUESTS: readonly RequestSchemaName[] = [
  'GetKeyMetadataRequest',
  'EncryptRequest',
  'DecryptRequest',
  'GetHealthStatusRequest',
]
const RESPONSES: readonly ResponseSchemaName[] = [
  'GetKeyMetadataResponse',
  'EncryptResponse',
  'DecryptResponse',
  'GetHealthStatusResponse',
  'ErrorResponse',
  'PingResponse',
]

/** Turns `#/components/schemas/X` into `#/$defs/X`, so that each schema is self-contained. */
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

/** Base64 needs no JSON escapes, so the serializer can skip looking for characters to escape. */
function toUnescaped(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(toUnescaped)
  if (typeof node !== 'object' || node === null) return node
  const copy = Object.fromEntries(Object.entries(node).map(([key, v]) => [key, toUnescaped(v)]))
  return 'contentEncoding' in copy ? { ...copy, format: 'unsafe' } : copy
}

function toFault(error: ErrorObject | undefined): SchemaFault {
  return { pointer: error?.instancePath ?? '', message: error?.message ?? 'is not valid' }
}

let compiled: ApiSchemas | undefined

/**
 * Compiles the schemas once per process, because compilation takes a while and the result has no
 * state.
 */
export function createApiSchemas(): ApiSchemas {
  compiled ??= compileSchemas()
  return compiled
}

function compileSchemas(): ApiSchemas {
  const definitions = toStandalone(SCHEMAS) as typeof SCHEMAS
  const schemaOf = (name: string): object => ({ $defs: definitions, ...definitions[name] })

  // Validation applies no coercion and no defaults: the signed bytes are checked unchanged.
  // strictRequired is off because allOf names a required field next to the schema that describes
  // it. `npm run check` validates openapi.yaml; validating it at each start would double the start
  // time.
  const ajv = new Ajv2020({
    strict: true,
    strictRequired: false,
    allErrors: false,
    addUsedSchema: false,
    meta: false,
    validateSchema: false,
  })
  const validators = new Map<string, ValidateFunction>()
  const validatorOf = (name: RequestSchemaName | AdminRequestSchemaName) => {
    const known = validators.get(name)
    if (known !== undefined) return known
    const validate = ajv.compile(schemaOf(name))
    validators.set(name, validate)
    return validate
  }
  REQUESTS.forEach(validatorOf)
  const serialisers = new Map(
    RESPONSES.map((name) => [name, fastJson(toUnescaped(schemaOf(name)) as Schema)]),
  )

  return {
    version: VERSION,
    check(name, value) {
      const validate = validatorOf(name)
      return validate(value) ? undefined : toFault(validate.errors?.[0])
    },
    encode(name, value) {
      const serialise = serialisers.get(name)
      if (serialise === undefined) throw new TypeError(`there is no schema ${name}`)
      return serialise(value)
    },
  }
}
