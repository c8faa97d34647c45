// Checks the files that accompany the chart. The Kustomize base must equal the rendered chart, and the examples for
// Kubernetes operators must match the operators' own schemas.
// SPDX-License-Identifier: Apache-2.0
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import { parse, parseAllDocuments, stringify } from 'yaml'
import { must, ROOT, run } from './process.mjs'
import { shownYaml } from './shown-commands.mjs'

const CHART = 'docker/helm/latchkey'
const BASE = 'docker/kustomize/base'
/** Location of each operator's CustomResourceDefinitions: the Go module that contains them, and their folders in it. */
const DEFINITIONS = {
  'github.com/external-secrets/external-secrets@v0.20.4': ['config/crds/bases'],
  'github.com/cert-manager/cert-manager@v1.17.2': ['deploy/crds'],
  'github.com/cloudnative-pg/cloudnative-pg@v1.26.0': ['config/crd/bases'],
  'github.com/prometheus-operator/prometheus-operator@v0.83.0': ['example/prometheus-operator-crd'],
}
const EXAMPLES = ['external-secrets', 'cert-manager', 'cloudnative-pg'].map(
  (name) => `docker/kubernetes/${name}.yaml`,
)

const load = (text) => parseAllDocuments(text).map((one) => one.toJS())

/** Renders the chart. @returns {Promise<object[]>} */
async function template(helm, flags, kubernetes) {
  const operands = ['template', 'latchkey', CHART, '--kube-version', `${kubernetes}.0`, ...flags]
  const { code, output, stdout } = await run(helm, operands)
  if (code !== 0) throw new Error(output)
  return load(stdout).filter((one) => one !== null)
}

/**
 * Removes everything that only Helm needs: its labels, its test, the ConfigMap, and the part of the Job's name that
 * changes with the configuration.
 */
function toBase(objects) {
  const kept = objects.filter(({ kind, metadata }) => {
    const isTest = metadata.annotations?.['helm.sh/hook'] !== undefined
    return !isTest && !(kind === 'ConfigMap' && metadata.name === 'latchkey')
  })
  const config = objects.find(({ kind }) => kind === 'ConfigMap').data['latchkey.yaml']
  return { config, objects: kept.map((one) => strip(structuredClone(one))) }
}

function strip(object) {
  const walk = (value) => {
    if (typeof value !== 'object' || value === null) return
    for (const [name, child] of Object.entries(value)) {
      if (['helm.sh/chart', 'app.kubernetes.io/managed-by', 'checksum/config'].includes(name))
        delete value[name]
      else walk(child)
    }
    if (Object.keys(value.annotations ?? { some: '' }).length === 0) delete value.annotations
  }
  walk(object)
  const { metadata } = object
  if (object.kind === 'Job') metadata.name = 'latchkey-init'
  return object
}

/** Returns validators for the operators' own schemas, by `group/version kind`. */
async function loadDefinitions() {
  const ajv = new Ajv({ strict: false, validateFormats: false, logger: false })
  const validators = new Map()
  for (const [module, folders] of Object.entries(DEFINITIONS)) {
    const { Dir } = JSON.parse(await must('go', ['mod', 'download', '-json', module], { cwd: '/' }))
    for (const folder of folders) {
      const list = await must('sh', ['-c', `ls ${join(Dir, folder)}/*.yaml`])
      for (const file of list.trim().split('\n')) {
        for (const one of load(readFileSync(file, 'utf8'))) {
          if (one?.kind !== 'CustomResourceDefinition') continue
          const { group, names, versions } = one.spec
          for (const { name, schema } of versions) {
            const closed = close(schema.openAPIV3Schema)
            const key = `${group}/${name} ${names.kind}`
            validators.set(key, () => ajv.compile(closed))
          }
        }
      }
    }
  }
  return validators
}

/** Turns unknown fields, which a cluster would silently drop, into errors. */
function close(schema) {
  if (typeof schema !== 'object' || schema === null) return schema
  if (Array.isArray(schema)) return schema.map(close)
  const closed = Object.fromEntries(Object.entries(schema).map(([name, one]) => [name, close(one)]))
  // Go's regular expressions have flags that JavaScript does not support.
  if (typeof closed.pattern === 'string' && closed.pattern.includes('(?i)')) delete closed.pattern
  const isOpen = schema['x-kubernetes-preserve-unknown-fields'] === true
  const names = Object.keys(schema.properties ?? {})
  // Accept any field if the schema lists none, as for `metadata`.
  if (names.length > 0 && !isOpen && typeof schema.type === 'string')
    closed.additionalProperties ??= false
  return closed
}

function checkCustom(validators, objects) {
  for (const object of objects) {
    const { apiVersion, kind, metadata } = object
    const compile = validators.get(`${apiVersion} ${kind}`)
    if (compile === undefined) throw new Error(`no schema for ${apiVersion} ${kind}`)
    const validate = compile()
    if (!validate(object))
      throw new Error(`${kind} ${metadata.name}: ${JSON.stringify(validate.errors)}`)
  }
  return `${objects.length} objects`
}

/** @param {{ helm: string, kustomize: string, validate: string, folder: string, check: Function, versions: string[] }} options */
export async function checkKubernetesFiles(options) {
  const { helm, kustomize, validate, folder, check, versions } = options
  const newest = versions.at(-1)
  const write = (name, text) => {
    writeFileSync(join(folder, name), text)
    return join(folder, name)
  }
  const takes = async (objects) => {
    const file = write('objects.yaml', objects.map((one) => stringify(one)).join('---\n'))
    for (const version of versions) await must(validate, ['--strict', '-k', version, file])
    return `${objects.length} objects`
  }
  await check('the Kustomize base is the rendered chart', async () => {
    const { config, objects } = toBase(await template(helm, [], newest))
    const head = '# Generated from the chart: UPDATE=1 npm run check:deployment.\n'
    const body = objects.map((one) => stringify(one, { lineWidth: 0 })).join('---\n')
    const files = { 'latchkey.yaml': head + body, 'config.yaml': head + config }
    for (const [name, text] of Object.entries(files)) {
      const path = join(ROOT, BASE, name)
      if (process.env.UPDATE !== undefined) writeFileSync(path, text)
      if (readFileSync(path, 'utf8') !== text) throw new Error(`${BASE}/${name} differs`)
    }
  })
  for (const name of ['base', 'example']) {
    await check(`kustomize build docker/kustomize/${name}`, async () => {
      const { code, output, stdout } = await run(kustomize, ['build', `docker/kustomize/${name}`])
      if (code !== 0) throw new Error(output)
      const objects = load(stdout)
      const config = objects.find(isConfig)
      const { volumes } = objects.find(({ kind }) => kind === 'StatefulSet').spec.template.spec
      if (!volumes.some(({ configMap }) => configMap?.name === config.metadata.name))
        throw new Error('the pods do not mount the configuration')
      await checkConfig(objects, write)
      return takes(objects)
    })
  }
  const page = shownYaml('docs/kubernetes.md').map((text, i) => write(`page-${i}.yaml`, text))
  for (const [i, path] of page.entries()) {
    await check(`the chart with the values of docs/kubernetes.md, block ${i + 1}`, async () => {
      const files = i === 0 ? [path] : [page[0], path]
      const objects = await template(helm, valuesFlags(files), newest)
      await checkConfig(objects, write)
      return takes(objects)
    })
  }
  await check('the chart with the values of CloudNativePG', async () => {
    const values = 'docker/kubernetes/cloudnative-pg.values.yaml'
    const objects = await template(helm, ['--values', values], newest)
    await checkConfig(objects, write)
    return takes(objects)
  })
  const validators = await loadDefinitions()
  for (const path of EXAMPLES)
    await check(`${path} fits the operator's schema`, async () =>
      checkCustom(validators, load(readFileSync(join(ROOT, path), 'utf8'))),
    )
  await check('PodMonitor and PrometheusRule of the chart fit theirs', async () => {
    const flags = ['podMonitor', 'prometheusRule'].flatMap((one) => [
      '--set',
      `monitoring.${one}=true`,
    ])
    const objects = await template(helm, flags, newest)
    return checkCustom(
      validators,
      objects.filter(({ apiVersion }) => apiVersion.startsWith('monitoring.coreos.com/')),
    )
  })
}

export const valuesFlags = (files) => files.flatMap((file) => ['--values', file])

const isConfig = ({ kind, data }) => kind === 'ConfigMap' && data['latchkey.yaml'] !== undefined

/**
 * Checks that Latchkey accepts the ConfigMap's configuration, and that the network policy lets pods reach the database.
 */
async function checkConfig(objects, write) {
  const text = objects.find(isConfig).data['latchkey.yaml']
  if (parse(text) === null) throw new Error('the configuration is empty')
  const file = write('latchkey.yaml', text)
  const words = ['dist/src/main.js', 'config', 'check', '--offline', '--config', file]
  await must(process.execPath, words)
  const { host, port = 5432 } = parse(text).store.postgres
  const { egress } = objects.find(({ kind }) => kind === 'NetworkPolicy').spec
  // A host name that contains a dot is outside the namespace, so a selector for the namespace's own pods does not match
  // it.
  const isReached = ({ ipBlock, namespaceSelector }) =>
    !host.includes('.') || ipBlock !== undefined || namespaceSelector !== undefined
  const rules = egress.filter(({ ports }) => ports.some((one) => one.port === port))
  if (!rules.some(({ to }) => to.some(isReached)))
    throw new Error(`the network policy does not allow ${host}:${port}`)
}
