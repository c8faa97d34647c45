/** Whether the metadata of a request is what a switch is for. */
// SPDX-License-Identifier: Apache-2.0
import type { Criteria } from '../model.ts'

/** XKS 1.0.3, requestMetadata: the fields that a switch can ask for. */
export interface GateMetadata {
  readonly awsPrincipalArn?: string
  readonly awsSourceVpc?: string
  readonly awsSourceVpce?: string
  readonly kmsKeyArn?: string
  readonly kmsViaService?: string
}

export type Matcher = (metadata: GateMetadata) => boolean

export function createMatcher(criteria: Criteria): Matcher {
  const { account, principal, viaService, vpc } = criteria
  return (metadata) =>
    (account === undefined || isOfAccount(metadata, account)) &&
    (principal === undefined || matches(principal, metadata.awsPrincipalArn)) &&
    (viaService === undefined || matches(viaService, metadata.kmsViaService)) &&
    (vpc === undefined || isFrom(metadata, vpc))
}

/** arn:partition:service:region:ACCOUNT:resource */
function isOfAccount({ awsPrincipalArn, kmsKeyArn }: GateMetadata, account: string): boolean {
  return [awsPrincipalArn, kmsKeyArn].some((arn) => arn?.split(':')[4] === account)
}

function isFrom({ awsSourceVpc, awsSourceVpce }: GateMetadata, vpc: string): boolean {
  return matches(vpc, vpc.startsWith('vpce-') ? awsSourceVpce : awsSourceVpc)
}

/**
 * `*` stands for any characters, `?` for one, as in IAM's ArnLike without its colons. Goes back to the
 * last star only, so the time is at most the product of the lengths.
 */
export function matches(pattern: string, text: string | undefined): boolean {
  if (text === undefined) return false
  let p = 0
  let star = -1
  let from = 0
  for (let i = 0; i < text.length;) {
    if (pattern[p] === '*') {
      star = p++
      from = i
    } else if (p < pattern.length && (pattern[p] === '?' || pattern[p] === text[i])) {
      p++
      i++
    } else if (star >= 0) {
      p = star + 1
      i = ++from
    } else return false
  }
  while (pattern[p] === '*') p++
  return p === pattern.length
}
