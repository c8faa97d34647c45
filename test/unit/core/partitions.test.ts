/** Tests every row in the partition table, and compares the table with the AWS SDK's endpoints. */
// SPDX-License-Identifier: Apache-2.0
import { KMSClient } from '@aws-sdk/client-kms'
import t from 'tap'
import { kmsNames, PARTITIONS, partitionOf, REGION_PATTERN } from '../../../src/core/partitions.ts'
import { findParameterFaults } from '../../../src/kms/emulator/xks-parameters.ts'
import { requestMetadata } from '../../../src/kms/client/requests.ts'

const REGIONS = {
  aws: ['us-east-1', 'eu-west-1', 'ap-southeast-7', 'mx-central-1', 'il-central-1', 'sa-east-1'],
  'aws-us-gov': ['us-gov-west-1', 'us-gov-east-1'],
  'aws-cn': ['cn-north-1', 'cn-northwest-1'],
  'aws-eusc': ['eusc-de-east-1'],
} as const satisfies Record<(typeof PARTITIONS)[number]['id'], readonly string[]>

const SERVICES = {
  aws: 'com.amazonaws.vpce.us-east-1',
  'aws-us-gov': 'com.amazonaws.vpce.us-gov-west-1',
  'aws-cn': 'cn.com.amazonaws.vpce.cn-north-1',
  'aws-eusc': 'eu.amazonaws.vpce.eusc-de-east-1',
} as const satisfies Record<keyof typeof REGIONS, string>

const NAMES = {
  aws: ['cks.kms.us-east-1.amazonaws.com'],
  'aws-us-gov': ['cks.kms.us-gov-west-1.amazonaws.com'],
  'aws-cn': ['cks.kms.cn-north-1.amazonaws.com.cn', 'cks.kms.cn-north-1.amazonaws.com'],
  'aws-eusc': ['cks.kms.eusc-de-east-1.amazonaws.eu', 'cks.kms.eusc-de-east-1.amazonaws.com'],
} as const satisfies Record<keyof typeof REGIONS, readonly string[]>

const form = new RegExp(REGION_PATTERN)

void t.test('each region belongs to one partition, whose domain the SDK has too', (t) => {
  t.same(PARTITIONS.map(({ id }) => id).sort(), Object.keys(REGIONS).sort())
  const client = new KMSClient({ region: 'us-east-1' })
  for (const [id, regions] of Object.entries(REGIONS)) {
    for (const region of regions) {
      const partition = partitionOf(region)
      t.equal(partition.id, id, region)
      t.match(region, form)
      const { url } = client.config.endpointProvider({ Region: region, UseFIPS: false })
      t.equal(url.hostname, `kms.${region}.${partition.domain}`)
    }
  }
  t.equal(partitionOf('xx-new-1').id, 'aws')
  t.end()
})

void t.test('an invalid region has no partition', (t) => {
  for (const wrong of [
    'EU-WEST-1',
    'no',
    'eu',
    'eu-west',
    'eu_west_1',
    'eu-west-1a',
    'euwest1',
    '',
  ])
    t.notMatch(wrong, form, wrong)
  for (const other of ['us-iso-east-1', 'us-isob-east-1', 'eu-isoe-west-1']) t.match(other, form)
  t.end()
})

void t.test('names of KMS, of endpoint services and of keys are those of the partition', (t) => {
  for (const { id, endpointServices, hasExternalKeyStores } of PARTITIONS) {
    const [region] = REGIONS[id]
    t.same(kmsNames(region), NAMES[id])
    const name = `${SERVICES[id]}.vpce-svc-0123456789abcdef0`
    t.ok(name.startsWith(`${endpointServices}.${region}.`))
    const faults = findParameterFaults({ xksProxyVpcEndpointServiceName: name })
    t.equal(faults.length === 0, hasExternalKeyStores, name)
    t.match(requestMetadata('Encrypt', region)['kmsKeyArn'], `arn:${id}:kms:${region}:`)
  }
  t.end()
})
