/** Checks individual responses against what the specification requires of every success and every error. */
// SPDX-License-Identifier: Apache-2.0
import type { WireAnswer } from '../../kms/client/connection.ts'
import { quoted } from './finding.ts'

export type Json = Readonly<Record<string, unknown>>

export function bodyOf(answer: WireAnswer): Json {
  const { body } = answer
  return typeof body === 'object' && body !== null && !Array.isArray(body) ? (body as Json) : {}
}

/** Returns the errors in a response that should be a success. */
export function faultsOfSuccess(answer: WireAnswer): readonly string[] {
  if (answer.status !== 200) return [`the response was ${describe(answer)}`]
  return faultsOfForm(answer)
}

/**
 * Returns the problems found in an error response. Each error name has a fixed status (XKS 1.0.3,
 * Error codes).
 */
export function faultsOfError(
  answer: WireAnswer,
  expected: Readonly<Record<string, number>>,
): readonly string[] {
  const wanted = Object.entries(expected).map(([name, status]) => `${String(status)} ${name}`)
  const { errorName, errorMessage } = bodyOf(answer)
  if (answer.status === 200) return [`expected ${wanted.join(' or ')}, but the request succeeded`]
  if (typeof errorName !== 'string') {
    return [`expected ${wanted.join(' or ')}, found ${String(answer.status)} without an errorName`]
  }
  const status = expected[errorName]
  return [
    ...(status === undefined ? [`expected ${wanted.join(' or ')}, found ${describe(answer)}`] : []),
    ...(status !== undefined && status !== answer.status
      ? [`expected status ${String(status)} with ${errorName}, found ${String(answer.status)}`]
      : []),
    ...faultsOfMessage(errorMessage),
    ...faultsOfForm(answer),
  ]
}

function faultsOfMessage(message: unknown): readonly string[] {
  if (message === undefined) return []
  if (typeof message !== 'string') return ['errorMessage is not text']
  return [
    ...(message.length < 512
      ? []
      : [`expected an errorMessage of fewer than 512 characters, found ${String(message.length)}`]),
    ...(/^[\x20-\x7e]*$/.test(message) ? [] : ['expected an errorMessage in printable ASCII']),
  ]
}

function faultsOfForm(answer: WireAnswer): readonly string[] {
  const type = String(answer.headers['content-type'] ?? '')
  return [
    ...(/^application\/json\s*(?:;|$)/i.test(type)
      ? []
      : [`expected the content type application/json, found ${quoted(type)}`]),
    ...(answer.body === undefined ? ['the body is not JSON'] : []),
  ]
}

/** Describes a response by its status, and by its errorName if it is an error. */
export function describe(answer: WireAnswer): string {
  const { errorName } = bodyOf(answer)
  const name = typeof errorName === 'string' ? ` ${quoted(errorName, 60)}` : ''
  return `${String(answer.status)}${name}`
}

/** Decodes strict Base64; returns undefined for anything else. */
export function bytesOf(value: unknown): Buffer | undefined {
  if (typeof value !== 'string') return undefined
  const bytes = Buffer.from(value, 'base64')
  return bytes.toString('base64') === value ? bytes : undefined
}
