/** Implements `latchkey register`. */
// SPDX-License-Identifier: Apache-2.0
import { type Administration, openAdministration } from '../../app/administration.ts'
import type { KeyStoreConfig } from '../../config/config.ts'
import {
  type Command,
  type Context,
  UsageError,
  findKeyStore,
  loadContextConfig,
  stringFlag,
} from '../../terminal/command.ts'
import { parseOperator } from '../../terminal/flags/scope.ts'
import { KMS_FLAGS, hostFlag, regionOf, storeName, uriPathOf } from '../../terminal/flags/kms.ts'
import { durationFlag } from '../../terminal/flags/time.ts'
import { connectStore } from '../../tools/register/connect.ts'
import { openKms } from '../../tools/register/kms-api.ts'
import {
  type Plan,
  renderPlan,
  toCalls,
  toConsoleExample,
  toShell,
} from '../../tools/register/plan.ts'
import { checkSettings, reportFindings } from '../../tools/register/preflight.ts'
import {
  type RoundTrip,
  done,
  findOrCreateKey,
  findOrCreateStore,
  roundTripByKms,
} from '../../tools/register/registration.ts'

/** AWS's documentation says that connecting takes about five minutes. */
const CONNECT_TIMEOUT_MS = 20 * 60_000

export const register: Command = {
  flags: {
    endpoint: {
      type: 'string',
      short: 'e',
      value: 'URL',
      description: 'Proxy URL that KMS calls on port 443: https://HOST, without a port or path.',
    },
    'key-id': {
      type: 'string',
      short: 'k',
      value: 'KEY_ID',
      description: 'External key to create a KMS key for (default: create none).',
    },
    'vpc-endpoint-service': {
      type: 'string',
      value: 'NAME',
      description:
        'VPC endpoint service, com.amazonaws.vpce.REGION.vpce-svc-ID (default: public endpoint).',
    },
    'vpc-endpoint-service-owner': {
      type: 'string',
      value: 'ACCOUNT',
      description:
        'Account id (12 digits) of the owner of the VPC endpoint service, if it differs from the account of the KMS key store.',
    },
    credential: {
      type: 'string',
      value: 'FILE',
      description:
        'JSON file for the KMS console, from latchkey credentials create (default: create a new credential).',
    },
    'dry-run': {
      type: 'boolean',
      description:
        'Print the calls, the AWS CLI commands and the JSON file, without changing anything.',
    },
    'skip-endpoint-checks': {
      type: 'boolean',
      description:
        'Skip the checks that call the endpoint. Use it if this host cannot reach the endpoint, such as a VPC endpoint service.',
    },
    ignore: {
      type: 'string',
      value: 'CHECKS',
      description: 'Checks to skip, by name, such as tls-authority,tls-days.',
    },
    'connect-to': {
      type: 'string',
      value: 'HOST:PORT',
      description: 'Address that the checks connect to, for use before DNS points to the proxy.',
    },
    ca: {
      type: 'string',
      value: 'FILE',
      description: 'PEM file of certificate authorities for the checks to trust, for a private CA.',
    },
    authorities: {
      type: 'string',
      value: 'FILE',
      description:
        'Newer TrustedCertificateAuthorities file from AWS (default: the built-in list).',
    },
    timeout: {
      type: 'string',
      value: 'TIME',
      description: 'How long to wait for CONNECTED (default: 20m).',
    },
    ...KMS_FLAGS,
  },
  examples: [
    'latchkey register --endpoint https://xks.example.com --key-id payroll-2026 --region eu-west-1',
    'latchkey register --endpoint https://xks.example.com --key-id payroll-2026 --dry-run',
    'latchkey register --endpoint https://xks.example.com --vpc-endpoint-service com.amazonaws.vpce.eu-west-1.vpce-svc-0123456789abcdef0 --skip-endpoint-checks',
  ],
  async run(context) {
    const config = await loadContextConfig(context)
    const keyStore = findKeyStore(context, config)
    const plan = toPlan(context, keyStore, storeName(context, config))
    // Check all flags before anything is created.
    durationFlag(context, 'timeout', CONNECT_TIMEOUT_MS)
    hostFlag(context, 'connect-to')
    const administration = await openAdministration(config, parseOperator(context))
    try {
      if (context.flags['dry-run'] === true) await dryRun(context, plan, keyStore, administration)
      else await registerForReal(context, plan, keyStore, administration)
    } finally {
      await administration.close()
    }
  },
}

function toPlan(context: Context, keyStore: KeyStoreConfig, name: string): Plan {
  const endpoint = stringFlag(context, 'endpoint')
  if (endpoint === undefined) {
    throw new UsageError('USAGE', '--endpoint is missing: name the host that KMS will call')
  }
  const service = stringFlag(context, 'vpc-endpoint-service')
  const owner = stringFlag(context, 'vpc-endpoint-service-owner')
  if (owner !== undefined && (service === undefined || !/^\d{12}$/.test(owner))) {
    throw new UsageError(
      'USAGE',
      '--vpc-endpoint-service-owner: expected a 12-digit account ID and --vpc-endpoint-service',
    )
  }
  return {
    keyStore: keyStore.name,
    keyId: stringFlag(context, 'key-id'),
    region: regionOf(context),
    store: {
      name,
      uriEndpoint: endpoint,
      uriPath: uriPathOf(keyStore),
      ...(service === undefined ? {} : { vpcEndpointServiceName: service }),
      ...(owner === undefined ? {} : { vpcEndpointServiceOwner: owner }),
    },
  }
}

async function settingsFindings(
  { store, keyId, region }: Plan,
  keyStore: KeyStoreConfig,
  administration: Administration,
  knownRegion = region,
) {
  return checkSettings({
    parameters: {
      customKeyStoreName: store.name,
      xksProxyUriEndpoint: store.uriEndpoint,
      xksProxyUriPath: store.uriPath,
      ...(store.vpcEndpointServiceName === undefined
        ? {}
        : { xksProxyVpcEndpointServiceName: store.vpcEndpointServiceName }),
      ...(keyId === undefined ? {} : { xksKeyId: keyId }),
    },
    keyStore,
    region: knownRegion,
    keyId,
    // Ignore a failure, because the proxy may reach the token even if this host cannot.
    keys: await administration
      .keys(keyStore.name)
      .listKeys()
      .catch(() => undefined),
  })
}

async function dryRun(
  { output }: Context,
  plan: Plan,
  keyStore: KeyStoreConfig,
  administration: Administration,
): Promise<void> {
  reportFindings(output, await settingsFindings(plan, keyStore, administration))
  output.line('')
  output.result(renderPlan(plan), {
    done: false,
    calls: toCalls(plan),
    shell: toShell(plan),
    consoleFile: toConsoleExample(plan),
  })
}

async function registerForReal(
  context: Context,
  plan: Plan,
  keyStore: KeyStoreConfig,
  administration: Administration,
): Promise<void> {
  const { output } = context
  const kms = await openKms(plan.region)
  try {
    output.line(`Checking the proxy, before KMS in ${kms.region} runs its own checks`)
    const settings = await settingsFindings(plan, keyStore, administration, kms.region)
    reportFindings(output, settings)
    const job = { context, plan, kms, administration, keyStore }
    const storeId = await findOrCreateStore(job)
    await connectStore(kms, storeId, {
      timeoutMs: durationFlag(context, 'timeout', CONNECT_TIMEOUT_MS),
      onState: createStateTeller(context),
    })
    const value = { customKeyStoreId: storeId, name: plan.store.name, region: kms.region }
    if (plan.keyId === undefined) {
      output.result('Registered without a KMS key. To create one, add --key-id.', value)
      return
    }
    const key = await findOrCreateKey(kms, storeId, plan.keyId)
    output.line(done('CreateKey', key.arn))
    const roundTrip = await roundTripByKms(kms, key.keyId)
    output.line(done('round trip', describeRoundTrip(roundTrip)))
    output.line('')
    output.result(`Registered. Use the KMS key ${key.arn}; its external key is ${plan.keyId}.`, {
      ...value,
      key,
      roundTripMs: roundTrip,
    })
  } finally {
    kms.close()
  }
}

/** Prints a line for each new state, and periodically while the state is unchanged. */
function createStateTeller({ output }: Context): (state: string, elapsedMs: number) => void {
  const every = 30_000
  let last = ''
  let toldAt = 0
  return (state, elapsedMs) => {
    if (state === last && elapsedMs - toldAt < every) return
    last = state
    toldAt = elapsedMs
    const after = `${state} after ${(elapsedMs / 1000).toFixed(0)} s`
    output.line(done('ConnectCustomKeyStore', after, state === 'CONNECTED' ? '✓' : '·'))
  }
}

function describeRoundTrip({ generateDataKeyMs, decryptMs }: RoundTrip): string {
  return `GenerateDataKey ${generateDataKeyMs.toFixed(0)} ms, Decrypt ${decryptMs.toFixed(0)} ms: both returned the same data key`
}
