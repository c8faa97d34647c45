/** Checks the endpoint's name, port and path, and then DNS and TCP. */
// SPDX-License-Identifier: Apache-2.0
import { BlockList, isIP } from 'node:net'
import { resolveHost } from '../../kms/client/dial.ts'
import type { Remote } from '../../terminal/flags/remote.ts'
import { createReporter, type Finding } from './finding.ts'

const { ok, warn, fail } = createReporter('address')

const PRIVATE = new BlockList()
for (const [network, prefix] of [
  ['10.0.0.0', 8],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['100.64.0.0', 10],
] as const) {
  PRIVATE.addSubnet(network, prefix, 'ipv4')
}

/**
 * Checks the requirements in XKS 1.0.3, API operations, and KMS Developer Guide, Create an external
 * key store.
 */
export async function checkAddress(remote: Remote): Promise<readonly Finding[]> {
  return [checkName(remote), checkPort(remote), checkPath(remote), ...(await checkDns(remote))]
}

function checkName({ endpoint: { host } }: Remote): Finding {
  if (isIP(host) !== 0) {
    return fail(
      'host-name',
      `${host} is an IP address; KMS requires a fully qualified domain name`,
      'give the proxy a DNS name and a certificate for it',
    )
  }
  if (
    !/^(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]$/i.test(host)
  ) {
    return warn(
      'host-name',
      `${host} is not a fully qualified domain name`,
      'use a name such as xks.example.com, which KMS requires; a trial on this host works without it',
    )
  }
  return ok('host-name', `${host} is a fully qualified domain name`)
}

function checkPort({ endpoint: { port } }: Remote): Finding {
  return port === 443
    ? ok('port', 'port 443')
    : warn(
        'port',
        `port ${String(port)}: KMS calls only port 443`,
        'listen on port 443, or have a load balancer forward TCP from port 443',
      )
}

function checkPath({ uriPath, endpoint: { host }, keyId = '' }: Remote): Finding {
  const faults = [
    ...(/^(?:\/[A-Za-z0-9/_-]+)?\/kms\/xks\/v1$/.test(uriPath)
      ? []
      : [
          `${uriPath} does not end with /kms/xks/v1, or has characters other than a-z A-Z 0-9 / - _`,
        ]),
    ...(uriPath.length <= 128
      ? []
      : [`expected a path of at most 128 characters, found ${String(uriPath.length)}`]),
    ...(`https://${host}${uriPath}/keys/${keyId}/metadata`.length <= 256
      ? []
      : ['a whole URI with this key id is longer than 256 characters']),
  ]
  return createReporter('address').judge(
    'uri-path',
    `KMS accepts the path ${uriPath}`,
    faults,
    'choose another path prefix (see XKS 1.0.3, API operations)',
  )
}

async function checkDns({ endpoint: { host } }: Remote): Promise<readonly Finding[]> {
  const addresses = await resolveHost(host)
  const list = addresses.map(({ address }) => address).join(', ')
  const four = addresses.filter(({ family }) => family === 4)
  if (four.length === 0) {
    return [
      fail(
        'dns',
        `${host} has only IPv6 addresses: ${list}`,
        'KMS connects over IPv4: add an A record',
      ),
    ]
  }
  const isPrivate = four.every(({ address }) => PRIVATE.check(address, 'ipv4'))
  return [
    ok(
      'dns',
      isPrivate
        ? `${host} resolves to ${list}: private addresses work only with a VPC endpoint service`
        : `${host} resolves to ${list}`,
    ),
  ]
}
