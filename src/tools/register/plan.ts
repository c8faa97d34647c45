/** The plan of a registration, as text, as AWS CLI commands and as console values. */
// SPDX-License-Identifier: Apache-2.0
import { toCreateParameters, toKeyParameters, type NewStore } from './kms-api.ts'

export interface Plan {
  readonly store: NewStore
  readonly keyId: string | undefined
  /** Region; undefined to use AWS's own settings. */
  readonly region: string | undefined
  /** Latchkey's name for the key store. */
  readonly keyStore: string
}

const STORE_ID = 'CUSTOM_KEY_STORE_ID'
const FILE = 'kms-console.json'

/**
 * Returns the calls in order. Their parameters omit the credential, which is created later and sent
 * only to KMS.
 */
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

/**
 * Returns commands that run as one POSIX shell script with AWS CLI version 1 or 2. The secret stays
 * in a file with mode 0600, which `--cli-input-json` reads.
 */
export function toShell(plan: Plan): readonly string[] {
  const files = new Map<string, string>()
  const region = plan.region === undefined ? [] : [`--region ${plan.region}`]
  const aws = (operation: string, parameters: Readonly<Record<string, string>>, more: string[]) =>
    [
      `aws kms ${operation}`,
      ...region,
      ...Object.entries(parameters).map(([name, value]) => option(name, value, files)),
      ...more,
    ].join(' \\\n  ')
  const ofStore = { CustomKeyStoreId: STORE_ID }
  const create = aws('create-custom-key-store', toCreateParameters(plan.store), [
    `--cli-input-json file://${FILE}`,
    '--query CustomKeyStoreId --output text',
  ])
  const state = aws('describe-custom-key-stores', ofStore, [
    "--query 'CustomKeyStores[0].ConnectionState' --output text",
  ])
  return [
    `latchkey credentials create --key-store ${quote(plan.keyStore)} --output ${FILE}`,
    ...Array.from(files, ([file, value]) => `printf %s ${quote(value)} > ${file}`),
    `${STORE_ID}=$(${create}) && rm ${[FILE, ...files.keys()].join(' ')}`,
    aws('connect-custom-key-store', ofStore, []),
    `while state=$(${state}); [ "$state" = CONNECTING ]; do sleep 10; done; echo "$state"`,
    ...(plan.keyId === undefined
      ? []
      : [aws('create-key', toKeyParameters(STORE_ID, plan.keyId), [])]),
  ]
}

/**
 * Encodes a flag of the AWS CLI. Version 1 would fetch a value that begins with https://, and both
 * versions would read the file named by a value that begins with file://, so such values are passed
 * in a file.
 */
function option(name: string, value: string, files: Map<string, string>): string {
  const flag = toDashes(name)
  if (value === STORE_ID) return `--${flag}="$${STORE_ID}"`
  if (!/^(?:https?|fileb?):\/\//.test(value)) return `--${flag}=${quote(value)}`
  const file = `kms-${flag}.txt`
  files.set(file, value)
  return `--${flag}=file://${file}`
}

/**
 * Returns example values for the console (XKS 1.0.3, XKS proxy configuration in AWS KMS console).
 * The credential is an example; `credentials create` makes a real one.
 */
export function toConsoleExample({ store }: Plan) {
  return {
    XksProxyUriPath: store.uriPath,
    XksProxyAuthenticationCredential: {
      AccessKeyId: 'created by latchkey credentials create',
      RawSecretAccessKey: 'written once, to the output file',
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
