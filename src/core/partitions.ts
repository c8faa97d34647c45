/**
 * AWS partitions, which use different names for domains, service principals, endpoint services, and
 * the client certificate of KMS. A test compares regions and domains with those of the AWS SDK.
 */
// SPDX-License-Identifier: Apache-2.0

export interface Partition {
  /** The second field of the partition's ARNs. */
  readonly id: 'aws' | 'aws-us-gov' | 'aws-cn' | 'aws-eusc'
  readonly region: RegExp
  /** Domain of the partition's endpoints. */
  readonly domain: string
  /** First part of the names of VPC endpoint services. */
  readonly endpointServices: string
  /** Whether KMS offers external key stores in this partition. */
  readonly hasExternalKeyStores: boolean
}

/**
 * The domain of the commercial partition. Most other partitions also use it for service principals,
 * even if they have a domain of their own.
 */
const COMMON_DOMAIN = 'amazonaws.com'

const COMMERCIAL: Partition = {
  id: 'aws',
  region: /^(us|eu|ap|sa|ca|me|af|il|mx)-\w+-\d+$/,
  domain: COMMON_DOMAIN,
  endpointServices: 'com.amazonaws.vpce',
  hasExternalKeyStores: true,
}

export const PARTITIONS: readonly Partition[] = [
  {
    id: 'aws-us-gov',
    region: /^us-gov-\w+-\d+$/,
    domain: COMMON_DOMAIN,
    endpointServices: 'com.amazonaws.vpce',
    hasExternalKeyStores: true,
  },
  {
    id: 'aws-cn',
    region: /^cn-\w+-\d+$/,
    domain: 'amazonaws.com.cn',
    endpointServices: 'cn.com.amazonaws.vpce',
    hasExternalKeyStores: false,
  },
  {
    id: 'aws-eusc',
    region: /^eusc-de-\w+-\d+$/,
    domain: 'amazonaws.eu',
    endpointServices: 'eu.amazonaws.vpce',
    hasExternalKeyStores: true,
  },
  COMMERCIAL,
]

/** The form of every region's name, including those of future partitions. */
export const REGION_PATTERN = '^[a-z]{2,8}(-[a-z]{2,16}){1,3}-[1-9][0-9]?$'

/**
 * Returns the partition of a region. A region that matches no pattern counts as commercial, since a
 * new commercial region may not match.
 */
export function partitionOf(region: string): Partition {
  return PARTITIONS.find((one) => one.region.test(region)) ?? COMMERCIAL
}

/**
 * Returns the common names that the client certificate of KMS may have, which are also the service
 * principals to allow on a VPC endpoint service (XKS 1.0.3, Authentication). If a partition has its
 * own domain, there are two names, because the specification does not say which domain KMS uses.
 * AWS owns both domains.
 */
export function kmsNames(region: string): readonly string[] {
  const domains = new Set([partitionOf(region).domain, COMMON_DOMAIN])
  return [...domains].map((domain) => `cks.kms.${region}.${domain}`)
}

/** Reports whether a name such as `ec2.amazonaws.com.cn` is under an AWS domain. */
export function isServicePrincipal(name: string): boolean {
  return (
    serviceOf(name) !== undefined && PARTITIONS.some(({ domain }) => name.endsWith(`.${domain}`))
  )
}

/** Returns the service of a principal such as `ec2.amazonaws.com`; undefined for ARNs and `AWS Internal`. */
export function serviceOf(principal: string): string | undefined {
  // Any domain name counts as a service: mistaking a service for a caller would make an exposure
  // look smaller than it is.
  const isDomain = /^[a-z0-9_-]+(\.[a-z0-9-]+)+$/i.test(principal)
  return isDomain ? principal.split('.')[0]?.toLowerCase() : undefined
}
