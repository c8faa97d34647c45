/** Authenticates admin requests, checks the role, validates the body, and calls one route. */
// SPDX-License-Identifier: Apache-2.0
import { isPermittedSomewhere, type AdminPrincipal } from './principal.ts'
import https from 'node:https'
import { Readable } from 'node:stream'
import type { Socket } from 'node:net'
import type { SecureContextOptions } from 'node:tls'
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import type { AdminConfig } from '../config/config.ts'
import type { Clock } from '../core/clock.ts'
import { findFramingFault } from '../core/http-framing.ts'
import type { ApiSchemas } from '../openapi/schemas.ts'
import {
  type Authenticate,
  type CallSource,
  type OtherCallers,
  checkSource,
  createAuthenticate,
  createIsOwnName,
} from './authenticate.ts'
import { type BareServer, createBareServer } from './bare-server.ts'
import { AdminError } from './errors.ts'
import { type AdminAnswer, type AdminRoute, type GuardedRoute, toQuery } from './route.ts'

/** A log event that records who did what, and the result. It never contains a token or a body. */
export interface AdminEvent {
  readonly name?: string
  readonly role?: string
  readonly method: string
  readonly route: string
  readonly status: number
  readonly code?: string
  readonly remoteAddress: string
  /** The thrown value, if Latchkey itself caused the failure. */
  readonly fault?: unknown
}

export interface AdminServerDeps {
  readonly config: AdminConfig
  /** Absent for plain HTTP, which the configuration allows on loopback only. */
  readonly tls?: SecureContextOptions
  readonly schemas: ApiSchemas
  readonly clock: Clock
  readonly routes: readonly AdminRoute[]
  /** Converts any thrown value to an error that the caller may see. */
  readonly toAdminError: (error: unknown) => AdminError
  readonly callers: OtherCallers
  readonly onEvent: (event: AdminEvent) => void
  /** Called when a connection is refused without reaching a route. */
  readonly onRefused: (reason: string, remoteAddress: string | undefined) => void
}

const MAX_BODY_BYTES = 16_384

export interface AdminServer {
  /** The app does not listen yet. Call `listen` on `app.server`. */
  readonly app: FastifyInstance
  /** Applies renewed certificate files. Open connections' client certificates no longer count. */
  setTls(tls: SecureContextOptions): void
  /** Replaces the known tokens and subjects with the ones in this configuration. */
  setCallers(config: AdminConfig): void
}

export async function createAdminServer(deps: AdminServerDeps): Promise<AdminServer> {
  /** Connections whose certificate was verified against the authority now in use. */
  let verified = new WeakSet<Socket>()
  let bare: BareServer | undefined
  const app = fastify({
    logger: false,
    bodyLimit: MAX_BODY_BYTES,
    exposeHeadRoutes: false,
    trustProxy: false,
    serverFactory: (handler) => {
      bare = createBareServer({
        ...{ tls: deps.tls, clock: deps.clock, handler },
        requestCert: deps.config.clientCertificates !== undefined,
        onRefused: deps.onRefused,
      })
      return bare.server
    },
  })
  // The body is read regardless of its content type, so that checkSource decides on the refusal.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => {
    done(null, body)
  })
  app.server.on('secureConnection', (socket: Socket) => {
    verified.add(socket)
  })
  app.addHook('onRequest', (request, reply, done) => {
    const isFaulty = findFramingFault(request.raw) !== undefined
    if (isFaulty) reply.raw.shouldKeepAlive = false
    done(
      isFaulty
        ? new AdminError('INPUT_INVALID', 'the only supported transfer coding is chunked')
        : undefined,
    )
  })
  let isOwnName = createIsOwnName(deps.config, deps.tls)
  const isVerified = (socket: Socket) => verified.has(socket)
  let authenticate = createAuthenticate(deps.config, isVerified, deps.clock.now, deps.callers)
  const guarded: GuardedDeps = {
    ...deps,
    async authenticate(call) {
      const principal = await authenticate(call)
      if (principal !== undefined) bare?.prove(call.socket)
      return principal
    },
    checkSource: (source) => {
      checkSource(source, isOwnName)
    },
  }
  for (const route of deps.routes) {
    app.route({
      method: route.method,
      url: route.path,
      ...('bodyLimit' in route ? { bodyLimit: route.bodyLimit } : {}),
      handler: (request, reply) => serve(guarded, route, request, reply).then(() => reply),
    })
  }
  app.setNotFoundHandler((request, reply) => {
    refuse(deps, reply, {
      ...describe(request, 'unknown'),
      error: new AdminError('NOT_FOUND', 'this listener has no such path'),
    })
  })
  app.setErrorHandler((error, request, reply) => {
    refuse(deps, reply, {
      ...describe(request, request.routeOptions.url),
      error: toHttpError(error),
    })
  })
  await app.ready()
  return {
    app,
    setCallers(config) {
      authenticate = createAuthenticate(config, isVerified, deps.clock.now, deps.callers)
    },
    setTls(tls) {
      if (!(app.server instanceof https.Server)) return
      app.server.setSecureContext(tls)
      verified = new WeakSet()
      isOwnName = createIsOwnName(deps.config, tls)
      app.server.closeIdleConnections()
    },
  }
}

interface GuardedDeps extends AdminServerDeps {
  readonly authenticate: Authenticate
  /** @throws AdminError */
  readonly checkSource: (source: CallSource) => void
}

async function serve(
  deps: GuardedDeps,
  route: AdminRoute,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  const about = describe(request, route.path)
  let principal: AdminPrincipal | undefined
  try {
    if (route.permission === 'none') {
      send(reply, await route.handle())
      return
    }
    const { method, headers } = request
    // Check the source first, so that a page of another site learns nothing.
    deps.checkSource({ method, headers, isTls: deps.tls !== undefined })
    if (route.permission === 'anyone') {
      const answer = await route.answer({ body: bodyOf(deps, route, request) })
      send(reply, answer)
      deps.onEvent({ ...about, status: answer.status })
      return
    }
    principal = await deps.authenticate({
      socket: request.raw.socket,
      authorization: headers.authorization,
    })
    const answer = await callGuarded(deps, route, principal, request)
    send(reply, answer)
    deps.onEvent({ ...about, ...nameOf(principal), status: answer.status })
  } catch (error) {
    refuse(deps, reply, { ...about, ...nameOf(principal), error })
  }
}

/** @throws AdminError */
async function callGuarded(
  deps: AdminServerDeps,
  route: GuardedRoute,
  principal: AdminPrincipal | undefined,
  request: FastifyRequest,
): Promise<AdminAnswer> {
  if (principal === undefined) {
    throw new AdminError('UNAUTHENTICATED', 'a valid client certificate or token is required')
  }
  // Routes that concern particular key stores check the permission themselves.
  if (!isPermittedSomewhere(principal, route.permission)) {
    throw new AdminError('FORBIDDEN', `the role ${principal.role} does not allow this`)
  }
  return route.handle({
    principal,
    parameters: request.params as Record<string, string>,
    query: toQuery(request.raw.url ?? ''),
    body: bodyOf(deps, route, request),
    isGone: () => request.raw.socket.destroyed,
  })
}

/** @throws AdminError INPUT_INVALID */
function bodyOf(
  { schemas }: AdminServerDeps,
  { body }: Pick<GuardedRoute, 'body'>,
  request: FastifyRequest,
): unknown {
  return body === undefined ? undefined : parseBody(schemas, body, request.body)
}

function parseBody(
  schemas: ApiSchemas,
  name: NonNullable<GuardedRoute['body']>,
  text: unknown,
): unknown {
  let value: unknown
  try {
    // Treat an absent body as an empty object, which is valid if all fields are optional.
    value = JSON.parse(typeof text === 'string' && text !== '' ? text : '{}')
  } catch {
    throw new AdminError('INPUT_INVALID', 'the request body is not valid JSON')
  }
  const fault = schemas.check(name, value)
  if (fault !== undefined) {
    throw new AdminError('INPUT_INVALID', `body${fault.pointer}: ${fault.message}`)
  }
  return value
}

/** Headers that keep other sites from framing or loading responses, and fix the content type. */
const NO_OTHER_SITE = {
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'x-content-type-options': 'nosniff',
}

function send(reply: FastifyReply, { status, body, contentType, headers = {} }: AdminAnswer): void {
  const isRaw = typeof body === 'string' || Buffer.isBuffer(body) || body instanceof Readable
  void reply
    .code(status)
    .header('content-type', contentType ?? 'application/json')
    .header('cache-control', 'no-store')
    .headers(NO_OTHER_SITE)
    .headers(headers)
    .send(isRaw ? body : `${JSON.stringify(body)}\n`)
}

interface Refusal extends Omit<AdminEvent, 'status' | 'code' | 'fault'> {
  readonly error: unknown
}

function refuse(deps: AdminServerDeps, reply: FastifyReply, { error, ...about }: Refusal): void {
  const refusal = error instanceof AdminError ? error : deps.toAdminError(error)
  const { code, message, hint, reason, faults, status } = refusal
  send(reply, {
    ...{ status, headers: refusal.headers },
    body: {
      error: {
        ...{ code, message },
        ...(reason === undefined ? {} : { reason }),
        ...(hint === undefined ? {} : { hint }),
        ...(faults === undefined ? {} : { faults }),
      },
    },
  })
  deps.onEvent({ ...about, status, code, ...(code === 'INTERNAL' ? { fault: error } : {}) })
}

function describe(request: FastifyRequest, route = 'unknown') {
  return {
    method: request.method,
    route,
    remoteAddress: request.raw.socket.remoteAddress ?? '',
  }
}

function nameOf(principal: AdminPrincipal | undefined) {
  return principal === undefined ? {} : { name: principal.name, role: principal.role }
}

/** Converts errors that Fastify raised before a route ran. */
function toHttpError(error: unknown): unknown {
  const code: unknown = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') {
    return new AdminError('CONTENT_TYPE', 'expected the content type application/json')
  }
  return typeof code === 'string' && code.startsWith('FST_ERR_CTP_')
    ? new AdminError('INPUT_INVALID', 'the request body cannot be read or is too large')
    : error
}
