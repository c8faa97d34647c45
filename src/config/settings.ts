/** The kinds of settings that sections are made of. */
// SPDX-License-Identifier: Apache-2.0
import { isExposed } from '../core/plain-http.ts'
import { DURATION_FORM, DURATION_PATTERN, toMilliseconds } from '../core/duration.ts'
import { REGION_PATTERN } from '../core/partitions.ts'
import type { Secret } from '../core/secret.ts'
import {
  converted,
  list,
  object,
  oneOf,
  optional,
  plain,
  type Schema,
  type SecretSource,
  type Setting,
} from './setting.ts'

export function text(description: string, rest: Partial<Schema> = {}): Setting<string, string> {
  const length = rest.pattern === undefined ? { minLength: 1 } : {}
  return plain({ type: 'string', ...length, description, ...rest })
}

/** Returns a setting for a URL, which must use https, or http on loopback. */
export function webAddress(
  description: string,
  form: Readonly<Record<'pattern' | 'patternErrorMessage', string>>,
): Setting<string, string> {
  return {
    ...text(description, form),
    visit(raw, path, visitor) {
      const parsed = URL.canParse(raw) ? new URL(raw) : undefined
      if (parsed === undefined) visitor.fault(path, 'expected a URL')
      else if (isExposed(parsed))
        visitor.fault(path, `expected https, because ${parsed.hostname} is not loopback`)
    },
  }
}

export function choice<const T extends string>(
  values: readonly T[],
  description: string,
  fallback?: T,
): Setting<T, T> {
  return plain({
    type: 'string',
    enum: values,
    ...(fallback === undefined ? {} : { default: fallback }),
    description,
  })
}

export function flag(description: string, fallback: boolean): Setting<boolean, boolean> {
  return plain({ type: 'boolean', default: fallback, description })
}

export function integer(
  description: string,
  range: { readonly minimum: number; readonly maximum: number; readonly default?: number },
): Setting<number, number> {
  return plain({ type: 'integer', description, ...range })
}

/** Returns a setting for a port to bind; 0 picks any free port. */
export function port(description: string, fallback?: number): Setting<number, number> {
  const otherwise = fallback === undefined ? {} : { default: fallback }
  return integer(description, { minimum: 0, maximum: 65_535, ...otherwise })
}

/**
 * Returns a setting for a whole number with a unit, such as `200ms` or `5s`.
 * @param range in milliseconds, inclusive
 */
export function duration(
  description: string,
  fallback: string,
  [least, most]: readonly [number, number] = [0, Infinity],
): Setting<string, number, 'Ms'> {
  return {
    schema: {
      type: 'string',
      pattern: DURATION_PATTERN,
      patternErrorMessage: DURATION_FORM,
      description,
      default: fallback,
    },
    suffix: 'Ms',
    isOptional: false,
    convert: toMilliseconds,
    visit(raw, path, visitor) {
      const value = toMilliseconds(raw)
      if (value >= least && value <= most) return
      visitor.fault(
        path,
        `expected a duration from ${String(least)}ms to ${String(most)}ms, found ${raw}`,
      )
    },
  }
}

/** Returns a setting for a path, which is converted to an absolute path. */
export function path(description: string): Setting<string, string> {
  const sentence = `${description} Relative paths are resolved against the configuration file's folder.`
  return converted(text(sentence), (value, { absolute }) => absolute(value))
}

/**
 * Returns a setting for the path of a file that the program reads: `ca` in the file is `caFile` in
 * the program.
 */
export function file(description: string): Setting<string, string, 'File'> {
  return { ...path(description), suffix: 'File' }
}

/** Returns a setting for the certificate and private key of a listener. */
export function serverCertificate(description: string) {
  return object(description, {
    certificate: file('PEM file with the certificate, followed by its intermediates.'),
    privateKey: file("PEM file with the certificate's private key."),
  })
}

const PRIVATE_FILE =
  'File that contains the secret, with mode 0600. A trailing line break is ignored.'

function secretSource(description: string, fileSentence: string) {
  return oneOf(description, {
    file: optional(path(fileSentence)),
    env: optional(text('Name of the environment variable that contains the secret.')),
    exec: optional(
      list(
        'Program that prints the secret, and its arguments. It runs without a shell and must finish within 30 s. A trailing line break is ignored.',
        plain<string>({ type: 'string' }),
        { minItems: 1, examples: [['vault', 'kv', 'get', '-field=pin', 'secret/hsm']] },
      ),
    ),
  })
}

/** Returns a setting for a secret that is read once, so that the loaded configuration has its value. */
export function secret(
  description: string,
  fileSentence = PRIVATE_FILE,
): Setting<SecretSource, Secret> {
  return {
    ...secretSource(description, fileSentence),
    convert(_raw, at, { secrets }) {
      const found = secrets.get(at)
      if (found === undefined) throw new TypeError(`the secret ${at} was not loaded`)
      return found
    },
    visit(raw, at, visitor) {
      visitor.secret(at, raw)
    },
  }
}

/** The source of a secret that may be rotated. */
export type RotatedSecret =
  { readonly secret: Secret } | { readonly file: string } | { readonly exec: readonly string[] }

/**
 * Returns a setting for a secret that may be rotated: if it is in a file or comes from a program,
 * it is read again for each use.
 */
export function rotatedSecret(description: string): Setting<SecretSource, RotatedSecret> {
  const source = secret(
    `${description} The file is read, or the program is run, for each connection.`,
    PRIVATE_FILE,
  )
  return {
    ...source,
    convert(raw, at, conversion) {
      if (raw.file !== undefined) return { file: conversion.absolute(raw.file) }
      if (raw.exec !== undefined) return { exec: raw.exec }
      return { secret: source.convert(raw, at, conversion) }
    },
  }
}

/** Returns a setting for a list of one or more strings. */
export function texts(
  description: string,
  example: string,
): Setting<readonly string[], readonly string[]> {
  return list(description, plain<string>({ type: 'string', minLength: 1 }), {
    minItems: 1,
    examples: [[example]],
  })
}

/** Returns a setting for a list of one or more AWS regions. */
export function regionNames(description: string): Setting<readonly string[], readonly string[]> {
  const item = plain<string>({
    type: 'string',
    pattern: REGION_PATTERN,
    patternErrorMessage: 'a region such as eu-west-1, in lower case',
  })
  return list(description, item, { minItems: 1, examples: [['eu-west-1']] })
}
