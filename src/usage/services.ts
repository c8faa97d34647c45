/**
 * Facts about how AWS services use data keys that they have already fetched: what works without
 * KMS, for how long, and what ends it. The table holds what AWS states or implies; anything else is
 * marked as unknown.
 */
// SPDX-License-Identifier: Apache-2.0
import { serviceOf } from '../core/partitions.ts'

export type Certainty =
  | 'documented' // stated by AWS on a current page or in its API model
  | 'archived' // stated by AWS on an archived page from 2023 or earlier
  | 'inferred' // follows from what AWS states about another case
  | 'unknown' // not stated by AWS

export interface CachingFact {
  readonly name: string
  /** Values of kmsViaService, up to the first period. */
  readonly viaServices: readonly string[]
  /** Functions that still work without the proxy. */
  readonly goesOn: string
  readonly howLong: string
  /**
   * Maximum time, in milliseconds, for which these functions still work after the last fetch of a
   * data key; absent if unknown or unbounded.
   */
  readonly atMostMs?: number
  readonly endedBy: string
  readonly certainty: Certainty
  readonly source: string
  /** Lasting damage if the keys are unavailable for seven days. */
  readonly afterSevenDays?: string
}

const UNUSABLE = 'https://docs.aws.amazon.com/kms/latest/developerguide/unusable-kms-keys.html'

export const CACHING_FACTS: readonly CachingFact[] = [
  {
    name: 'Amazon EBS, EC2',
    viaServices: ['ebs', 'ec2'],
    goesOn: 'reading and writing attached volumes: the data key is in the Nitro hardware',
    howLong: 'as long as the volume stays attached',
    endedBy: 'detaching the volume; the next attach fails',
    certainty: 'documented',
    source: UNUSABLE,
  },
  {
    name: 'Amazon S3',
    viaServices: ['s3'],
    goesOn:
      'requests to buckets with S3 Bucket Keys; without Bucket Keys, every object request calls KMS',
    howLong: 'a limited time that AWS does not publish',
    endedBy:
      'the expiry of the bucket-level key; AWS documents no way for the owner to end it sooner',
    certainty: 'unknown',
    source: 'https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-key.html',
  },
  {
    name: 'Amazon SQS',
    viaServices: ['sqs'],
    goesOn: 'sending and receiving on queues',
    howLong: 'KmsDataKeyReusePeriodSeconds of the queue: 60 s to 24 h, 5 min unless set',
    atMostMs: 86_400_000,
    endedBy: 'the end of the reuse period',
    certainty: 'documented',
    source: 'the SQS API model, version 2012-11-05',
  },
  {
    name: 'Amazon DynamoDB',
    viaServices: ['dynamodb'],
    goesOn:
      'access to tables by callers that stay active: the table key is cached for each of them',
    howLong: '5 minutes after the last activity; the limit for an active caller is not published',
    endedBy: 'five minutes of inactivity',
    certainty: 'archived',
    source:
      'Amazon DynamoDB Developer Guide, "Table key caching", an archived copy from 2023 or earlier',
    afterSevenDays:
      'DynamoDB starts archiving tables whose key has been inaccessible for seven days',
  },
  {
    name: 'Amazon RDS, Aurora',
    viaServices: ['rds'],
    goesOn: 'a running database, until the service next needs the key',
    howLong: 'not published; the service then stops the cluster',
    endedBy:
      'the service, once it puts the cluster in the state inaccessible-encryption-credentials-recoverable',
    certainty: 'inferred',
    source:
      'https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/Overview.Encryption.html, which describes a disabled KMS key',
    afterSevenDays:
      'for seven days, a cluster can be recovered by enabling the key and starting the cluster; after that, only from a backup',
  },
]

/**
 * A call that does not come from an AWS service, but from an application or from a client such as
 * the AWS Encryption SDK.
 */
const DIRECT: CachingFact = {
  name: 'direct calls to KMS',
  viaServices: [],
  goesOn: 'anything the application does with data keys that it has cached',
  howLong:
    'the application decides: with the AWS Encryption SDK, the limits of its caching materials manager; without a cache, no longer than the operation',
  endedBy: "the expiry of the application's cache, or the end of its process",
  certainty: 'inferred',
  source: 'https://docs.aws.amazon.com/kms/latest/developerguide/keystore-external.html',
}

/** Describes a service that is not in the table. */
function unknownService(name: string): CachingFact {
  return {
    name,
    viaServices: [name],
    goesOn: 'anything the service does with data keys that it has fetched',
    howLong: 'unknown; see "Data protection" in the service\'s documentation',
    endedBy: 'unknown; according to AWS, an effect "is delayed until the KMS key is used again"',
    certainty: 'unknown',
    source: UNUSABLE,
  }
}

/**
 * @param viaService kmsViaService: `ebs` or, as in kms:ViaService, `ebs.eu-west-1.amazonaws.com`
 * @param principal names a service that acts for itself: `ec2.amazonaws.com`, or
 * `ec2.amazonaws.com.cn` in China
 */
export function findCachingFact(viaService?: string, principal = ''): CachingFact {
  const name = viaService?.split('.')[0]?.toLowerCase() ?? serviceOf(principal)
  if (name === undefined) return DIRECT
  return CACHING_FACTS.find(({ viaServices }) => viaServices.includes(name)) ?? unknownService(name)
}
