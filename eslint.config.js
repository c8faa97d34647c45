// The rules of the house: types checked, imports one way, the environment and the clock in one place.
// SPDX-License-Identifier: Apache-2.0
import { readdirSync } from 'node:fs'
import comments from '@eslint-community/eslint-plugin-eslint-comments/configs'
import importX from 'eslint-plugin-import-x'
import tseslint from 'typescript-eslint'

/** Each folder of src imports from lower ranks only, and never from a sibling. */
const RANKS = {
  base: 0,
  storage: 1,
  config: 1,
  openapi: 1,
  sigv4: 2,
  control: 2,
  activity: 2,
  backend: 2,
  'kms-side': 2,
  workers: 2,
  metrics: 2,
  xks: 3,
  listener: 4,
  admin: 4,
  cli: 6,
}

/** Where parts are joined: compose.ts, and compose-*.ts for single subjects. */
const COMPOSE = readdirSync(new URL('src', import.meta.url))
  .filter((name) => /^compose(-[a-z-]+)?\.ts$/.test(name))
  .map((name) => `./${name}`)

const zones = Object.entries(RANKS).map(([folder, rank]) => ({
  target: `./src/${folder}`,
  from: './src',
  except: [
    ...Object.entries(RANKS)
      .filter(([other, below]) => other === folder || below < rank)
      .map(([other]) => `./${other}`),
    ...(folder === 'cli' ? COMPOSE : []),
  ],
  message: 'imports run from higher ranks to lower ones: docs/architecture.md',
}))

/** Packages with the only folders that may know them. */
const OWNERS = {
  fastify: ['src/listener', 'src/admin'],
  pino: ['src/listener'],
  'fast-json-stringify': ['src/listener', 'src/openapi'],
  'better-sqlite3': ['src/storage'],
  '@peculiar/webcrypto': ['src/backend/software'],
  aws4: ['src/kms-side', 'bench'],
  ajv: ['src/openapi', 'src/config'],
  yaml: ['src/config'],
  'node-forge': ['certs'],
  pg: ['src/storage'],
  'prom-client': ['src/metrics'],
  'hdr-histogram-js': ['src/cli', 'bench'],
  '@aws-sdk/client-kms': ['src/cli'],
  uplot: ['src/cli'],
  pkcs11js: ['src/backend/pkcs11', 'bench'],
  '@opentelemetry/api': ['src/metrics'],
  '@opentelemetry/sdk-trace': ['src/metrics'],
  '@opentelemetry/exporter-trace-otlp-http': ['src/metrics'],
}

const restrictedImports = (file) =>
  Object.entries(OWNERS)
    .filter(([, owners]) => !owners.some((owner) => file.startsWith(owner)))
    .map(([name]) => ({ name, message: 'another folder owns this package: docs/dependencies.md' }))

const FOLDERS = [
  ...Object.keys(RANKS).map((folder) => `src/${folder}`),
  // After src/backend, whose rule it replaces.
  'src/backend/pkcs11',
  'certs',
  'bench',
]

/** The clock, the environment and the console each have one place. */
const restrictedProperties = [
  { object: 'Date', property: 'now', message: 'base/clock.ts has the clock' },
  { object: 'performance', property: 'now', message: 'base/clock.ts has the clock' },
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
    plugins: { 'import-x': importX },
    languageOptions: {
      parserOptions: {
        project: './test/tsconfig.json',
        tsconfigRootDir: import.meta.dirname,
      },
    },
    settings: {
      'import-x/extensions': ['.ts'],
      'import-x/resolver': { node: { extensions: ['.ts'] } },
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
      // Parts are closures; the few classes are called as methods.
      '@typescript-eslint/unbound-method': 'off',
      'import-x/no-cycle': 'error',
      'import-x/no-restricted-paths': ['error', { zones }],
      'no-restricted-imports': [
        'error',
        { patterns: [{ group: ['**/test/**'], message: 'nothing imports tests' }] },
      ],
    },
  },
  {
    files: ['src/**/*.ts'],
    rules: { 'no-restricted-properties': ['error', ...restrictedProperties] },
  },
  {
    files: [
      'src/base/clock.ts',
      'src/main.ts',
      'src/config/secrets.ts',
      'src/config/load.ts',
      'src/cli/**',
    ],
    rules: { 'no-restricted-properties': 'off' },
  },
  ...FOLDERS.map((folder) => ({
    files: [`${folder}/**/*.ts`],
    rules: {
      '@typescript-eslint/no-restricted-imports': [
        'error',
        { paths: restrictedImports(folder === 'src/backend' ? 'src/backend/software' : folder) },
      ],
    },
  })),
  {
    files: ['test/**/*.ts'],
    rules: {
      'no-restricted-imports': 'off',
      // tap's assertions and Node's sockets are called for what they do.
      '@typescript-eslint/no-non-null-assertion': 'error',
      '@typescript-eslint/require-await': 'off',
    },
  },
)
