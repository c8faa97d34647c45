/** Performs KMS's checks in advance, because KMS reports many causes with one code. */
// SPDX-License-Identifier: Apache-2.0
import type { KeyStoreConfig } from '../../config/config.ts'
import { systemClock } from '../../core/clock.ts'
import { partitionOf } from '../../core/partitions.ts'
import { pause } from '../../core/deadline.ts'
import type { KeySummary } from '../../keys/administration.ts'
import { EndpointError } from '../../kms/client/dial.ts'
import { probeHealthBody } from '../../kms/client/requests.ts'
import { KMS_TIMEOUT_MS } from '../../kms/emulator/proxy-connection.ts'
import { type XksParameters, findParameterFaults } from '../../kms/emulator/xks-parameters.ts'
import type { Remote } from '../../terminal/flags/remote.ts'
import type { Output } from '../../terminal/output.ts'
import { checkAddress } from '../doctor/address.ts'
import type { AuthorityList } from '../doctor/authorities.ts'
import { type Finding, createReporter } from '../doctor/finding.ts'
import { checkHealth, checkKey } from '../doctor/operations.ts'
import { type Session, createSession } from '../doctor/session.ts'
import { checkTls } from '../doctor/tls.ts'
import { RegistrationError } from './explanations.ts'

const { ok, warn, fail, skip } = createReporter('api')

export interface SettingsToCheck {
  readonly parameters: XksParameters
  readonly keyStore: KeyStoreConfig
  /** Region from which KMS will call; undefined when it is not known yet. */
  readonly region: string | undefined
  readonly keyId: string | undefined
  /** The key store's keys; undefined if they could not be listed here. */
  readonly keys: readonly KeySummary[] | undefined
}

/** Runs the checks that need no network. */
export function checkSettings(settings: SettingsToCheck): readonly Finding[] {
  const { parameters, keyStore, region } = settings
  const faults = findParameterFaults(parameters)
  const { xksProxyUriEndpoint: endpoint = '' } = parameters
  const isName = /^https:\/\/[^.]+(?:\.[^.]+)+$/.test(endpoint) && !/\.\d+$/.test(endpoint)
  return [
    ...faults.map(({ parameter, message }) =>
      fail('parameters', `${parameter}: ${message}`, 'KMS accepts no other format'),
    ),
    ...(faults.length === 0
      ? [ok('parameters', 'names, path and endpoint have the format that KMS requires')]
      : []),
    ...(isName
      ? []
      : [
          fail(
            'host-name',
            `${endpoint} has no fully qualified domain name`,
            'give the proxy a DNS name and a certificate for it',
          ),
        ]),
    checkRegion(keyStore, region),
    ...(region === undefined ? [] : checkPartition(parameters, region)),
    ...checkKeyHere(settings),
  ]
}

function checkRegion({ name, regions }: KeyStoreConfig, region: string | undefined): Finding {
  if (region === undefined) return skip('region', 'no region: pass --region or set AWS_REGION')
  return regions === undefined || regions.includes(region)
    ? ok('region', `signatures from ${region} are accepted`)
    : warn(
        'region',
        `keyStores[].regions of ${name} does not list ${region} in the configuration file`,
        'check the configuration of the running server: unless it lists this region, the server refuses signatures from the region',
      )
}

function checkPartition(
  { xksProxyVpcEndpointServiceName: service }: XksParameters,
  region: string,
): readonly Finding[] {
  const { id, endpointServices, hasExternalKeyStores } = partitionOf(region)
  if (!hasExternalKeyStores) {
    return [warn('partition', `KMS has no external key stores in ${id}`, 'choose another region')]
  }
  const start = `${endpointServices}.${region}.`
  if (service === undefined || service.startsWith(start)) return []
  return [
    fail(
      'vpc-endpoint-service',
      `${service} is not in ${region}: expected a name that starts with ${start}`,
      "the endpoint service must be in the key store's region",
    ),
  ]
}

function checkKeyHere({ keyId, keys }: SettingsToCheck): readonly Finding[] {
  if (keyId === undefined) return []
  const key = keys?.find((one) => one.keyId === keyId)
  if (key === undefined) {
    return [
      skip('key', `cannot check ${keyId} from here; a later step asks the proxy about the key`),
    ]
  }
  if (key.problem !== undefined) {
    return [
      fail(
        'key',
        `${keyId} is ${key.problem.kind}: ${key.problem.reason}`,
        'run latchkey keys list',
      ),
    ]
  }
  return [
    key.status === 'ENABLED' && key.canEncrypt && key.canDecrypt
      ? ok('key', `${keyId} is enabled, and can encrypt and decrypt`)
      : fail(
          'key',
          `${keyId} is ${key.status}${key.canEncrypt && key.canDecrypt ? '' : ', and cannot both encrypt and decrypt'}`,
          'run latchkey keys enable, or create a key with both usages',
        ),
  ]
}

export interface EndpointToCheck {
  readonly remote: Remote
  readonly authorities: AuthorityList
  /** Whether to check DNS; false if the caller gave an address to connect to. */
  readonly withDns: boolean
  readonly keyId: string | undefined
}

/**
 * Maximum time until every instance knows a new credential, in milliseconds. Each instance learns
 * of it at its next poll.
 */
const CREDENTIAL_KNOWN_WITHIN_MS = 10_000
const PAUSE_MS = 100

/** Runs the checks through the endpoint, connecting as KMS would. */
export async function checkEndpoint(target: EndpointToCheck): Promise<readonly Finding[]> {
  const { remote, keyId } = target
  const session = createSession(remote)
  const findings: Finding[] = []
  try {
    if (target.withDns) findings.push(...(await checkAddress(remote)))
    findings.push(...(await checkTls(session, target.authorities)))
    await untilKnown(session)
    findings.push(...(await checkHealth(session)), await checkTime(session))
    if (keyId !== undefined) findings.push(...(await checkKey(session, keyId)))
    return findings
  } catch (error) {
    if (!(error instanceof EndpointError)) throw error
    const hint =
      'run latchkey doctor for details, or pass --skip-endpoint-checks if only AWS can reach the endpoint'
    return [...findings, fail('endpoint', `${error.code}: ${error.message}`, hint)]
  } finally {
    session.close()
  }
}

async function untilKnown(session: Session): Promise<void> {
  const until = systemClock.monotonic() + CREDENTIAL_KNOWN_WITHIN_MS
  while (systemClock.monotonic() < until) {
    const { status } = await session.ask({ path: '/health', body: probeHealthBody() })
    if (status !== 401) return
    await pause(PAUSE_MS)
  }
}

async function checkTime(session: Session): Promise<Finding> {
  const startedAt = systemClock.monotonic()
  await session.ask({ path: '/health', body: probeHealthBody() })
  const ms = systemClock.monotonic() - startedAt
  const detail = `GetHealthStatus took ${ms.toFixed(0)} ms from here; KMS waits for ${String(KMS_TIMEOUT_MS)} ms`
  return ms < KMS_TIMEOUT_MS
    ? ok('time', detail)
    : warn('time', detail, 'run latchkey doctor to see where the time goes')
}

/** @throws RegistrationError PREFLIGHT_FAILED */
export function reportFindings(output: Output, findings: readonly Finding[]): void {
  const MARKS = { ok: '✓', warn: '!', fail: '✗', skip: '-' } as const
  for (const { verdict, detail, hint, check } of findings) {
    output.line(`  ${MARKS[verdict]} ${detail}`)
    if (hint !== undefined && verdict !== 'ok') output.line(`      ${hint}  [${check}]`)
  }
  const failed = findings.filter(({ verdict }) => verdict === 'fail')
  if (failed.length === 0) return
  throw new RegistrationError(
    'PREFLIGHT_FAILED',
    `KMS would refuse: ${failed.map(({ detail }) => detail).join('; ')}`,
    { hint: failed[0]?.hint ?? 'run latchkey doctor for details' },
  )
}

/**
 * Marks failed checks as skipped if the caller ignores them, so that they are reported but do not
 * stop the registration.
 */
export function ignoreChecks(
  findings: readonly Finding[],
  checks: readonly string[],
): readonly Finding[] {
  return findings.map((finding) =>
    checks.includes(finding.check) && finding.verdict === 'fail'
      ? skip(finding.check, `ignored: ${finding.detail}`)
      : finding,
  )
}
