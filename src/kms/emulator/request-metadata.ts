/**
 * Builds `requestMetadata` as KMS fills it in for a call on a key, according to the specification.
 */
// SPDX-License-Identifier: Apache-2.0

/** The caller of KMS, and the path that the call took. */
export interface KmsCaller {
  /** An ARN; a service principal such as `ec2.amazonaws.com`; or `AWS Internal`. */
  readonly principalArn: string
  /** The AWS service that called on behalf of the principal, such as `s3`. */
  readonly viaService?: string
  /** Set when KMS was called through a VPC endpoint. */
  readonly sourceVpc?: string
  readonly sourceVpce?: string
  /** Id of this call in KMS and in CloudTrail (default: a new one). */
  readonly requestId?: string
  /** Set for a DryRun call, which KMS checks but does not carry out. */
  readonly isDryRun?: boolean
}

export interface KmsCall {
  readonly kmsOperation: string
  readonly kmsRequestId: string
  readonly caller: KmsCaller
}

type Metadata = Readonly<Record<string, string>>

/** Omits kmsKeyArn, because there is no KMS key yet (XKS 1.0.3, GetKeyMetadata). */
export function keyMetadataMetadata({ caller, ...call }: KmsCall): Metadata {
  return {
    awsPrincipalArn: caller.principalArn,
    ...vpcOf(caller),
    kmsOperation: call.kmsOperation,
    kmsRequestId: call.kmsRequestId,
  }
}

/**
 * Names the VPC only when the caller's account owns the key, as KMS does (XKS 1.0.3, Encrypt and
 * Decrypt).
 */
export function cryptographicMetadata({ caller, ...call }: KmsCall, kmsKeyArn: string): Metadata {
  return {
    awsPrincipalArn: caller.principalArn,
    ...(accountOf(caller.principalArn) === accountOf(kmsKeyArn) ? vpcOf(caller) : {}),
    kmsKeyArn,
    kmsOperation: call.kmsOperation,
    kmsRequestId: call.kmsRequestId,
    ...(caller.viaService === undefined ? {} : { kmsViaService: caller.viaService }),
  }
}

function vpcOf({ sourceVpc, sourceVpce }: KmsCaller): Metadata {
  return {
    ...(sourceVpc === undefined ? {} : { awsSourceVpc: sourceVpc }),
    ...(sourceVpce === undefined ? {} : { awsSourceVpce: sourceVpce }),
  }
}

/** Returns an ARN's account id, which is its fifth field. */
function accountOf(arn: string): string | undefined {
  return arn.split(':')[4]
}
