// The project's lint rules: type-checked code, one import direction, and a single place each for the environment and
// the clock.
// SPDX-License-Identifier: Apache-2.0
import comments from '@eslint-community/eslint-plugin-eslint-comments/configs'
import tseslint from 'typescript-eslint'

/**
 * The program's components, from the bottom up. This is the only table of permitted imports. A component may import
 * those in `imports`, which all have a lower rank, and may import only types from those in `types`, which may have its
 * own rank. The lint rule below, test/guard/structure.test.ts and the table in docs/internals/architecture.md are
 * derived from it.
 */
export const COMPONENTS = {
  core: {
    rank: 0,
    holds:
      'Ids, clock, deadline, Base64, secrets, errors, and words that several components share. No I/O.',
    imports: [],
  },
  openapi: { rank: 1, holds: 'Types and schemas generated from openapi.yaml.', imports: [] },
  config: {
    rank: 1,
    holds: 'latchkey.yaml: schema, loading, validation, secrets.',
    imports: ['core'],
  },
  store: {
    rank: 1,
    holds: 'The control store on SQLite or PostgreSQL: sealed rows, epochs, event log, master key.',
    imports: ['core'],
  },
  sigv4: { rank: 2, holds: 'Verification of signatures; credentials.', imports: ['core', 'store'] },
  keys: {
    rank: 2,
    holds: 'The KeyBackend interface and its contract; software keys; keys behind PKCS#11.',
    imports: ['core', 'store'],
    types: ['config'],
  },
  usage: {
    rank: 2,
    holds: 'Who used which key: counters, exposure, rehearsal.',
    imports: ['core', 'store'],
  },
  kms: {
    rank: 3,
    holds: 'A client that calls a proxy as KMS does, and an emulator of KMS.',
    imports: ['core', 'sigv4'],
    types: ['openapi'],
  },
  policy: {
    rank: 3,
    holds: 'Who may use which key: Cedar policies, their store, decisions, and trying them out.',
    imports: ['core', 'store', 'usage'],
  },
  audit: {
    rank: 3,
    holds:
      'The audit log: its tree and files, the thread that writes it, verification, search, and the comparison with CloudTrail.',
    imports: ['core'],
  },
  killswitch: {
    rank: 3,
    holds: 'Switches, gate, lease, instances, receipts, and the service that operators call.',
    imports: ['core', 'store', 'usage'],
    types: ['config'],
  },
  retirement: {
    rank: 4,
    holds:
      'Key versions from their last use to their destruction: requests, approvals, certificates.',
    imports: ['core', 'keys', 'killswitch', 'store', 'usage'],
  },
  tripwire: {
    rank: 4,
    holds:
      'Limits on normal use: decides whether a request breaks one, tries rules out on the past, and suggests some.',
    imports: ['core', 'policy', 'store', 'usage'],
  },
  xks: {
    rank: 4,
    holds:
      'The protocol: the path of a request, its errors and its bytes. Knows no Fastify and no SQL.',
    imports: ['core', 'keys', 'killswitch', 'policy', 'sigv4'],
    types: ['openapi'],
  },
  observability: {
    rank: 5,
    holds: 'Log, request log, metrics, traces, webhooks.',
    imports: ['core', 'store'],
    types: ['config'],
  },
  server: {
    rank: 5,
    holds: 'The XKS listener: sockets, TLS, HTTP, admission control, trusted proxies.',
    imports: ['core', 'xks'],
    types: ['config', 'keys', 'openapi'],
  },
  admin: {
    rank: 5,
    holds:
      'The admin listener: authentication, operators and their tokens, roles, routes; and a client of it.',
    imports: ['core', 'store'],
    types: [
      ...['audit', 'config', 'keys', 'killswitch', 'openapi', 'policy', 'retirement', 'sigv4'],
      'usage',
    ],
  },
  terminal: {
    rank: 5,
    holds: 'What every command shares: output, flags, files.',
    imports: ['config', 'core', 'xks'],
    types: ['killswitch', 'kms', 'sigv4'],
  },
  app: {
    rank: 6,
    holds: 'Wiring: server, cluster, worker, administration. No SQL, no business rule, no loop.',
    imports: [
      ...['admin', 'audit', 'config', 'core', 'keys', 'killswitch', 'observability', 'openapi'],
      ...['policy', 'retirement', 'server', 'sigv4', 'store', 'tripwire', 'usage', 'xks'],
    ],
  },
  tools: {
    rank: 7,
    holds:
      'doctor, bench, report, simulate, register, demo, certify: what the commands of these names do.',
    imports: ['app', 'certs', 'config', 'core', 'keys', 'kms', 'terminal', 'xks'],
    types: ['openapi', 'sigv4'],
  },
  cli: {
    rank: 8,
    holds: 'Commands, a file for each: parse, call one service, print.',
    imports: [
      ...['admin', 'app', 'audit', 'config', 'core', 'killswitch', 'kms', 'openapi', 'policy'],
      ...['retirement', 'store', 'terminal', 'tools', 'tripwire', 'xks'],
    ],
    types: ['keys', 'sigv4', 'usage'],
  },
  main: { rank: 9, holds: 'The executable, ten lines.', imports: ['cli'] },
  certs: { rank: 0, holds: 'Development certificates. Knows nothing of `src/`.', imports: [] },
  bench: {
    rank: 10,
    holds: 'Measures the proxy beside a bare server.',
    imports: [
      ...['app', 'config', 'core', 'keys', 'killswitch', 'kms', 'policy', 'store', 'terminal'],
      ...['tools', 'usage'],
    ],
  },
}

/** Packages, each with the only folders that may import it. */
const OWNERS = {
  fastify: ['src/server', 'src/admin'],
  pino: ['src/observability'],
  'fast-json-stringify': ['src/observability', 'src/openapi'],
  'better-sqlite3': ['src/store'],
  '@peculiar/webcrypto': ['src/keys/software'],
  aws4: ['src/kms', 'src/observability/webhooks', 'bench'],
  ajv: ['src/openapi', 'src/config'],
  yaml: ['src/cli', 'src/config', 'src/policy'],
  '@cedar-policy/cedar-wasm/nodejs': ['src/policy'],
  'node-forge': ['certs'],
  jose: ['src/admin'],
  pg: ['src/store', 'bench'],
  'shamir-secret-sharing': ['src/store'],
  'prom-client': ['src/observability/metrics'],
  'hdr-histogram-js': ['src/tools/bench', 'bench'],
  '@aws-sdk/client-kms': ['src/tools/register'],
  '@aws-sdk/credential-provider-node': ['src/tools/register', 'src/observability/webhooks'],
  uplot: ['src/admin', 'src/tools/report'],
  pkcs11js: ['src/keys/pkcs11', 'bench'],
  '@opentelemetry/api': ['src/observability'],
  '@opentelemetry/sdk-trace': ['src/observability'],
  '@opentelemetry/exporter-trace-otlp-http': ['src/observability'],
}

/** Folders inside a component that own a package. Each has its own rule. */
const INNER_FOLDERS = [
  ...new Set(
    Object.values(OWNERS)
      .flat()
      .filter((folder) => folder.split('/').length > 2),
  ),
]

const folderOf = (component) =>
  component === 'certs' || component === 'bench' ? component : `src/${component}`

/**
 * Returns import patterns for the components that this one must not import. Another component is reached by going up
 * and then into its folder, from any depth.
 */
function restrictedComponents(component) {
  const { imports, types = [] } = COMPONENTS[component]
  // src/tools has its own `bench` folder, so only the guard test can check imports of the top-level one.
  const others = Object.keys(COMPONENTS).filter((one) => one !== component && one !== 'bench')
  const toPattern = (names, allowTypeImports) =>
    names.length === 0
      ? []
      : [
          {
            regex: `^(?:\\.\\./)+(?:src/)?(?:${names.join('|')})(?:/|\\.ts$)`,
            allowTypeImports,
            message: 'this component may not import that one: COMPONENTS in eslint.config.js',
          },
        ]
  return [
    ...toPattern(types, true),
    ...toPattern(
      others.filter((other) => !imports.includes(other) && !types.includes(other)),
      false,
    ),
    { group: ['**/test/**'], message: 'nothing imports tests' },
  ]
}

const restrictedPackages = (folder) =>
  Object.entries(OWNERS)
    .filter(([, owners]) => !owners.some((owner) => `${folder}/`.startsWith(`${owner}/`)))
    .map(([name]) => ({
      name,
      message: 'another folder owns this package: docs/internals/dependencies.md',
    }))

const importRules = (folder, component) => ({
  files: component === 'main' ? ['src/main.ts'] : [`${folder}/**/*.ts`],
  rules: {
    '@typescript-eslint/no-restricted-imports': [
      'error',
      { paths: restrictedPackages(folder), patterns: restrictedComponents(component) },
    ],
  },
})

/** The clock, the environment and the console may each be used in only one place. */
const restrictedProperties = [
  { object: 'Date', property: 'now', message: 'core/clock.ts has the clock' },
  { object: 'performance', property: 'now', message: 'core/clock.ts has the clock' },
  { object: 'process', property: 'env', message: 'config and cli read the environment' },
  { object: 'process', property: 'argv', message: 'main.ts reads the arguments' },
]

export default tseslint.config(
  {
    ignores: ['dist/', '.test-build/', 'node_modules/', '.tap/', 'demo/', 'src/openapi/*.gen.ts'],
  },
  {
    files: ['**/*.ts'],
    extends: [
      ...tseslint.configs.strictTypeChecked,
      ...tseslint.configs.stylisticTypeChecked,
      comments.recommended,
    ],
    languageOptions: {
      parserOptions: {
        project: './test/tsconfig.json',
        tsconfigRootDir: import.meta.dirname,
      },
    },
    rules: {
      '@eslint-community/eslint-comments/require-description': 'error',
      '@eslint-community/eslint-comments/no-unused-disable': 'error',
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      '@typescript-eslint/prefer-readonly': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/no-misused-promises': [
        'error',
        { checksVoidReturn: { arguments: false } },
      ],
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'no-console': 'error',
      // Most objects are closures, and the few classes are called as methods.
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  {
    files: ['src/**/*.ts'],
    rules: { 'no-restricted-properties': ['error', ...restrictedProperties] },
  },
  {
    files: [
      'src/core/clock.ts',
      'src/main.ts',
      'src/config/load.ts',
      'src/cli/**',
      'src/tools/register/kms-api.ts',
    ],
    rules: { 'no-restricted-properties': 'off' },
  },
  ...Object.keys(COMPONENTS).map((component) => importRules(folderOf(component), component)),
  // These rules come after their components' rules, which they replace.
  ...INNER_FOLDERS.map((folder) => importRules(folder, folder.split('/')[1])),
  {
    files: ['test/**/*.ts'],
    rules: {
      // Test callbacks and fakes may be async without awaiting anything.
      '@typescript-eslint/no-non-null-assertion': 'error',
      '@typescript-eslint/require-await': 'off',
    },
  },
)
