/**
 * Admin API calls with the types from openapi.yaml. The paths, parameters, bodies and responses are
 * those in openapi/types.gen.ts, which `npm run gen` writes.
 */
// SPDX-License-Identifier: Apache-2.0
import type { components, paths } from '../../openapi/types.gen.ts'
import type { AdminHttp } from './http.ts'

export type AdminAbout = components['schemas']['AdminAbout']

type Json<Content> = Content extends { readonly 'application/json': infer Body } ? Body : never

/** Paths of the admin API that support this method and return JSON. */
type PathOf<Method extends 'get' | 'post'> = {
  [Path in keyof paths]: Path extends `/admin/v1/${string}`
    ? paths[Path] extends Record<Method, object>
      ? Path
      : never
    : never
}[keyof paths]

type Operation<Path extends keyof paths, Method extends 'get' | 'post'> =
  paths[Path] extends Record<Method, infer Found> ? Found : never

type AnswerOf<Found> = Found extends { responses: { 200: { content: infer Content } } }
  ? Json<Content>
  : never

/** An empty object if openapi.yaml defines no body. */
type BodyOf<Found> = Found extends { requestBody?: infer Body }
  ? [NonNullable<Body>] extends [never]
    ? Record<string, never>
    : NonNullable<Body> extends { content: infer Content }
      ? Json<Content>
      : never
  : never

type PathParameters<Found> = Found extends { parameters: { path: infer Parameters } }
  ? Parameters
  : undefined

type QueryParameters<Found> = Found extends { parameters: { query?: infer Parameters } }
  ? Loose<NonNullable<Parameters>>
  : Record<string, never>

/** Allows undefined for optional parameters, which the client then omits. */
type Loose<Parameters> = {
  [Name in keyof Parameters]:
    Parameters[Name] | (object extends Pick<Parameters, Name> ? undefined : never)
}

type Parameters<Found> = (PathParameters<Found> extends undefined
  ? { readonly path?: never }
  : { readonly path: PathParameters<Found> }) & { readonly query?: QueryParameters<Found> }

type Rest<Found> =
  PathParameters<Found> extends undefined
    ? readonly [parameters?: Parameters<Found>]
    : readonly [parameters: Parameters<Found>]

export interface PostOptions<Found> {
  readonly path?: PathParameters<Found>
  /** Timeout for the complete response (default: 30 s). */
  readonly timeoutMs?: number
}

export interface AdminApi {
  /** @throws AdminRefusal, AdminCallError */
  get<Path extends PathOf<'get'>>(
    path: Path,
    ...rest: Rest<Operation<Path, 'get'>>
  ): Promise<AnswerOf<Operation<Path, 'get'>>>
  /** @throws AdminRefusal, AdminCallError */
  post<Path extends PathOf<'post'>>(
    path: Path,
    body: BodyOf<Operation<Path, 'post'>>,
    options?: PostOptions<Operation<Path, 'post'>>,
  ): Promise<AnswerOf<Operation<Path, 'post'>>>
  close(): void
}

/** The casts are safe as long as the listener conforms to openapi.yaml. */
export function createAdminApi(http: AdminHttp): AdminApi {
  return {
    async get<Path extends PathOf<'get'>>(
      path: Path,
      ...[parameters]: Rest<Operation<Path, 'get'>>
    ) {
      const { path: inPath, query = {} } = (parameters ?? {}) as {
        readonly path?: Names
        readonly query?: Names
      }
      const search = new URLSearchParams()
      for (const [name, value] of Object.entries(query)) {
        if (value !== undefined) search.set(name, String(value))
      }
      const suffix = search.size === 0 ? '' : `?${search.toString()}`
      return (await http.get(fill(path, inPath) + suffix)) as AnswerOf<Operation<Path, 'get'>>
    },
    async post<Path extends PathOf<'post'>>(
      path: Path,
      body: BodyOf<Operation<Path, 'post'>>,
      { path: inPath, timeoutMs }: PostOptions<Operation<Path, 'post'>> = {},
    ) {
      const found = await http.post(fill(path, inPath as Names | undefined), body, timeoutMs)
      return found as AnswerOf<Operation<Path, 'post'>>
    },
    close: http.close,
  }
}

type Names = Readonly<Record<string, string | number | boolean | undefined>>

function fill(path: string, parameters: Names = {}): string {
  return path.replace(/\{([a-zA-Z]+)\}/g, (_whole, name: string) =>
    encodeURIComponent(String(parameters[name] ?? '')),
  )
}
