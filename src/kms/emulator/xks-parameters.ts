/** Names, lengths and character sets that KMS checks before it calls a proxy. */
// SPDX-License-Identifier: Apache-2.0
import { PARTITIONS } from '../../core/partitions.ts'

const ENDPOINT_SERVICES = new Set(
  PARTITIONS.filter((one) => one.hasExternalKeyStores).map(({ endpointServices }) =>
    endpointServices.replaceAll('.', '\\.'),
  ),
)

export interface XksParameters {
  readonly customKeyStoreName?: string
  /** `https://` and a host name. KMS always uses port 443 and rejects a port. */
  readonly xksProxyUriEndpoint?: string
  readonly xksProxyUriPath?: string
  readonly accessKeyId?: string
  readonly rawSecretAccessKey?: string
  readonly xksProxyVpcEndpointServiceName?: string
  readonly xksKeyId?: string
}

export interface ParameterFault {
  readonly parameter: keyof XksParameters
  /** The message never contains the value, since one of the parameters is a secret. */
  readonly message: string
}

interface Rule {
  readonly min: number
  readonly max: number
  readonly pattern: RegExp
  readonly form: string
}

/**
 * Rules from the KMS API model, version 2014-11-01, and from XKS 1.0.3, API operations and Appendix
 * A.
 */
const RULES: Readonly<Record<keyof XksParameters, Rule>> = {
  customKeyStoreName: { min: 1, max: 256, pattern: /^[^\n]+$/, form: 'any characters' },
  xksProxyUriEndpoint: {
    min: 10,
    max: 128,
    pattern: /^https:\/\/[a-zA-Z0-9.-]+$/,
    form: 'https:// and a host name, without a port or a path',
  },
  xksProxyUriPath: {
    min: 10,
    max: 128,
    pattern: /^(?:\/[a-zA-Z0-9/_-]+)?\/kms\/xks\/v\d{1,2}$/,
    form: '/prefix/kms/xks/v1, where the prefix consists of letters, digits, hyphens and underscores',
  },
  accessKeyId: { min: 20, max: 30, pattern: /^[A-Z2-7]+$/, form: 'characters A-Z and 2-7' },
  rawSecretAccessKey: {
    min: 43,
    max: 64,
    pattern: /^[a-zA-Z0-9/+=]+$/,
    form: 'characters A-Z, a-z, 0-9, /, + and =',
  },
  xksProxyVpcEndpointServiceName: {
    min: 20,
    max: 64,
    pattern: new RegExp(
      `^(?:${[...ENDPOINT_SERVICES].join('|')})\\.(?:[a-z]+-){2,3}\\d+\\.vpce-svc-[0-9a-z]+$`,
    ),
    form: 'com.amazonaws.vpce.REGION.vpce-svc-ID',
  },
  xksKeyId: {
    min: 1,
    max: 128,
    pattern: /^[a-zA-Z0-9\-_.]+$/,
    form: 'letters, digits, hyphens, underscores and periods',
  },
}

/**
 * Returns one sentence for each invalid parameter, or an empty array if KMS would accept all of
 * them.
 */
export function findParameterFaults(parameters: XksParameters): readonly ParameterFault[] {
  return (Object.keys(RULES) as (keyof XksParameters)[]).flatMap((parameter) => {
    const value = parameters[parameter]
    const { min, max, pattern, form } = RULES[parameter]
    if (value === undefined || (value.length >= min && value.length <= max && pattern.test(value)))
      return []
    const found =
      pattern.test(value) || value.length < min || value.length > max
        ? `found ${String(value.length)}`
        : 'found others'
    return [
      {
        parameter,
        message: `expected ${String(min)} to ${String(max)} characters, ${form}; ${found}`,
      },
    ]
  })
}
