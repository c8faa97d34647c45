/** The plan of a registration, as text, as AWS CLI commands and as console values. */
// SPDX-License-Identifier: Apache-2.0
import { toCreateParameters, toKeyParameters, type NewStore } from './kms-api.ts'

export interface Plan {
  readonly store: NewStore
  readonly keyId: string | undefined
  /** Region; undefined to use AWS's own settings. */
  readonly region: string | undefined
  /** Latchkey's name of the key store. */
  readonly keyStore: string
}

const STORE_ID = 'CUSTOM_KEY_STORE_ID'
const FILE = 'kms-console.json'
const ENDPOINT_FILE = 'kms-endpoint.txt'

/** The calls in order. The parameters leave out the credential, which is made later and goes to KMS only. */
export function toCalls({ store, keyId }: Plan) {
  return [
    { operation: 'CreateCustomKeyStore', parameters: toCreateParameters(store) },
    { operation: 'ConnectCustomKeyStore', parameters: { CustomKeyStoreId: STORE_ID } },
    { operation: 'DescribeCustomKeyStores', parameters: { CustomKeyStoreId: STORE_ID } },
    ...(keyId === undefined
      ? []
      : [
          { operation: 'CreateKey', parameters: toKeyParameters(STORE_ID, keyId) },
          {
            operation: 'GenerateDataKey',
            parameters: { KeyId: 'KMS_KEY_ID', KeySpec: 'AES_256' },
          },
          { operation: 'Decrypt', parameters: { KeyId: 'KMS_KEY_ID' } },
        ]),
  ]
}

/** Commands for a POSIX shell. The secret stays in a file with mode 0600, which `--cli-input-json` reads. */
export function toShell(plan: Plan): readonly string[] {
  const region = plan.region === undefined ? [] : [`--region ${plan.region}`]
  const aws = (operation: string, parameters: Readonly<Record<string, string>>, more: string[]) =>
    [
      `aws kms ${operation}`,
      ...region,
      ...Object.entries(parameters).map(([name, value]) => `--${toDashes(name)} ${quote(value)}`),
      ...more,
    ].join(' \\\n  ')
  const id = { CustomKeyStoreId: STORE_ID }
  const { XksProxyUriEndpoint: endpoint, ...parameters } = toCreateParameters(plan.store)
  return [
    `latchkey credentials create --key-store ${plan.keyStore} --output ${FILE}`,
    // Version 1 of the AWS CLI would fetch a value that begins with https:// and send what it got.
    `printf %s ${quote(endpoint)} > ${ENDPOINT_FILE}`,
    aws('create-custom-key-store', parameters, [
      `--xks-proxy-uri-endpoint file://${ENDPOINT_FILE}`,
      `--cli-input-json file://${FILE}`,
    ]),
    aws('connect-custom-key-store', id, []),
    aws('describe-custom-key-stores', id, []),
    ...(plan.keyId === undefined
      ? []
      : [aws('create-key', toKeyParameters(STORE_ID, plan.keyId), [])]),
    `rm ${FILE} ${ENDPOINT_FILE}`,
  ]
}

/** XKS 1.0.3, XKS proxy configuration in AWS KMS console: an example; `credentials create` makes a real one. */
export function toConsoleExample({ store }: Plan) {
  return {
    XksProxyUriPath: store.uriPath,
    XksProxyAuthenticationCredential: {
      AccessKeyId: 'created by latchkey credentials create',
      RawSecretAccessKey: 'shown once, in the file',
    },
  }
}

export function renderPlan(plan: Plan): string {
  return [
    'The calls:',
    ...toCalls(plan).map(
      ({ operation, parameters }) => `  ${operation.padEnd(24)} ${JSON.stringify(parameters)}`,
    ),
    '',
    'The same with the AWS CLI:',
    '',
    ...toShell(plan).map((line) => `${line}\n`),
    "The KMS console's JSON file:",
    '',
    JSON.stringify(toConsoleExample(plan), undefined, 2),
    '',
    'Nothing was changed.',
  ].join('\n')
}

/** Converts `XksProxyUriPath` to the CLI's form, `xks-proxy-uri-path`. */
function toDashes(name: string): string {
  return name.replace(/(?<!^)[A-Z]/g, '-$&').toLowerCase()
}

function quote(text: string): string {
  return /^[\w/.:-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}
