/** What register would do, for reading, for the AWS CLI and for the console. */
// SPDX-License-Identifier: Apache-2.0
import { toCreateParameters, toKeyParameters, type NewStore } from './kms-api.ts'

export interface Plan {
  readonly store: NewStore
  readonly keyId: string | undefined
  /** Undefined: what AWS's own settings say. */
  readonly region: string | undefined
  /** Our own name of the key store. */
  readonly keyStore: string
}

const STORE_ID = 'CUSTOM_KEY_STORE_ID'
const FILE = 'kms-console.json'

/** Calls in their order. The credential is not among the parameters: it is made, and goes to KMS only. */
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

/** Lines for a POSIX shell. The secret is in a file of mode 0600, which `--cli-input-json` reads. */
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
  return [
    `latchkey credentials create --key-store ${plan.keyStore} --output ${FILE}`,
    aws('create-custom-key-store', toCreateParameters(plan.store), [
      `--cli-input-json file://${FILE}`,
    ]),
    aws('connect-custom-key-store', id, []),
    aws('describe-custom-key-stores', id, []),
    ...(plan.keyId === undefined
      ? []
      : [aws('create-key', toKeyParameters(STORE_ID, plan.keyId), [])]),
    `rm ${FILE}`,
  ]
}

/** XKS 1.0.3, XKS proxy configuration in AWS KMS console; a real one is made by `credentials create`. */
export function toConsoleExample({ store }: Plan) {
  return {
    XksProxyUriPath: store.uriPath,
    XksProxyAuthenticationCredential: {
      AccessKeyId: 'made by latchkey credentials create',
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
    'Nothing was done.',
  ].join('\n')
}

/** `XksProxyUriPath` is `xks-proxy-uri-path` there. */
function toDashes(name: string): string {
  return name.replace(/(?<!^)[A-Z]/g, '-$&').toLowerCase()
}

function quote(text: string): string {
  return /^[\w/.:-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}
