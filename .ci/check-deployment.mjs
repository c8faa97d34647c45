// Checks the chart, the compose file, the systemd unit and the Terraform module. These checks are not part of `npm run
// check`, because Debian does not package the tools: helm and hclfmt are built with Go, and the Kubernetes schemas come
// from PyPI. With TERRAFORM=1, the script also validates and tests the Terraform module with the terraform on the PATH,
// which must be able to download the AWS provider. The last line is `N passed, N failed`.
// SPDX-License-Identifier: Apache-2.0
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { countChecks } from './counted-checks.mjs'
import { has, installPrograms, must, ROOT, run } from './process.mjs'
import { checkKubernetesFiles } from './kubernetes-files.mjs'
import { serveChart } from './serve-chart.mjs'
import { serveCompose } from './serve-compose.mjs'
import { serveUnit } from './serve-unit.mjs'
import { setUp } from './setup.mjs'

const CACHE = join(ROOT, 'node_modules/.cache/deployment')
const TOOLS = {
  helm: 'helm.sh/helm/v3/cmd/helm@v3.18.4',
  kustomize: 'sigs.k8s.io/kustomize/kustomize/v5@v5.7.1',
  hclfmt: 'github.com/hashicorp/hcl/v2/cmd/hclfmt@v2.25.0',
  'terraform-config-inspect':
    'github.com/hashicorp/terraform-config-inspect@v0.0.0-20260904064934-75d64de68c31',
}
const SCHEMAS = 'kubernetes-validate==1.37.0'
/** The oldest Kubernetes version that the chart supports, and the newest version for which schemas are available. */
const KUBERNETES = ['1.27', '1.37']
const CHART = 'docker/helm/latchkey'

/** Chart values that set every option the templates read. */
const ALL_VALUES = {
  image: { repository: 'registry.example/latchkey', digest: `sha256:${'0a'.repeat(32)}` },
  imagePullSecrets: [{ name: 'pull' }],
  config: { admin: { host: '0.0.0.0', port: 8444 } },
  nameOverride: 'proxy',
  commonLabels: { zero: 'one' },
  clientCertificate: { configMap: 'ca' },
  persistence: { enabled: false },
  service: {
    type: 'LoadBalancer',
    annotations: { one: 'two' },
    loadBalancerClass: 'example.com/nlb',
    loadBalancerSourceRanges: ['10.0.0.0/8'],
    externalTrafficPolicy: 'Local',
  },
  serviceAccount: { name: 'own', annotations: { role: 'arn' } },
  priorityClassName: 'system-cluster-critical',
  podLabels: { ten: 'eleven' },
  extraContainers: [{ name: 'beside', image: 'beside' }],
  extraInitContainers: [{ name: 'before', image: 'before' }],
  podAnnotations: { three: 'four' },
  extraEnv: [{ name: 'FIVE', value: 'six' }],
  extraVolumes: [{ name: 'module', emptyDir: {} }],
  extraVolumeMounts: [{ name: 'module', mountPath: '/module' }],
  nodeSelector: { seven: 'eight' },
  tolerations: [{ key: 'nine', operator: 'Exists' }],
  affinity: { nodeAffinity: {} },
}

const { check, fail, finish } = countChecks()

/** @returns {Promise<string>} the command to run: the host's own program, or a newly built one */
async function tool(name) {
  if (await has(name)) return name
  const program = join(CACHE, name)
  const env = { GOBIN: CACHE, GOFLAGS: '-mod=mod' }
  if (!existsSync(program)) await must('go', ['install', TOOLS[name]], { env })
  return program
}

async function schemas() {
  const program = join(CACHE, 'venv/bin/kubernetes-validate')
  if (!existsSync(program)) {
    await must('python3', ['-m', 'venv', join(CACHE, 'venv')])
    await must(join(CACHE, 'venv/bin/pip'), ['install', '--quiet', SCHEMAS])
  }
  return program
}

async function checkChart(folder) {
  const helm = await tool('helm')
  const validate = await schemas()
  const all = join(folder, 'all.json')
  writeFileSync(all, JSON.stringify(ALL_VALUES))
  for (const [values, flags] of [
    ['its default values', []],
    ['all values', ['--values', all]],
  ]) {
    // A helm built with `go install` assumes an old Kubernetes version, so pass the version explicitly.
    const given = [...flags, '--kube-version', `${KUBERNETES.at(-1)}.0`]
    await check(`helm lint, with ${values}`, async () => {
      await must(helm, ['lint', '--strict', CHART, ...given])
    })
    for (const version of KUBERNETES) {
      await check(`Kubernetes ${version} takes it, with ${values}`, async () => {
        const rendered = join(folder, 'rendered.yaml')
        const { code, output, stdout } = await run(helm, ['template', 'release', CHART, ...given])
        if (code !== 0) throw new Error(output)
        writeFileSync(rendered, stdout)
        await must(validate, ['--strict', '-k', version, rendered])
      })
    }
  }
}

const EXAMPLES = ['vpc-endpoint-service', 'public-endpoint'].map((name) => `examples/${name}`)

async function checkTerraform() {
  const files = [
    ...['alarms', 'main', 'outputs', 'variables', 'versions'].map((name) => `${name}.tf`),
    ...EXAMPLES.map((example) => `${example}/main.tf`),
    'tests/module.tftest.hcl',
  ].map((file) => `docker/terraform/${file}`)
  const [hclfmt, inspect] = [await tool('hclfmt'), await tool('terraform-config-inspect')]
  for (const file of files) {
    await check(`format of ${file}`, async () => {
      // Compare the output, because `hclfmt -check` exits with 0 even if it finds a difference.
      const formatted = await must(hclfmt, [file])
      if (formatted !== readFileSync(join(ROOT, file), 'utf8')) throw new Error(formatted)
    })
  }
  await check('Terraform can read the module and its examples', async () => {
    for (const folder of ['', ...EXAMPLES]) await must(inspect, [join('docker/terraform', folder)])
  })
}

/**
 * Validates and tests the module with the provider's real schema. Terraform writes to the module's folder, so this
 * function works on a copy.
 */
async function testTerraform(folder) {
  const copy = join(folder, 'terraform')
  cpSync(join(ROOT, 'docker/terraform'), copy, { recursive: true })
  const terraform = (at, ...words) =>
    must('terraform', [`-chdir=${join(copy, at)}`, ...words, '-no-color'])
  for (const at of ['', ...EXAMPLES]) {
    await check(`terraform validate ${join('docker/terraform', at)}`, async () => {
      await terraform(at, 'init', '-backend=false')
      await terraform(at, 'validate')
    })
  }
  await check('terraform test', async () => {
    const [, passed] =
      /^Success! (\d+) passed, 0 failed\.$/m.exec(await terraform('', 'test')) ?? []
    if (passed === undefined) throw new Error('no test ran')
    return `${passed} runs`
  })
}

const folder = mkdtempSync(join(tmpdir(), 'latchkey-deployment-'))
try {
  mkdirSync(CACHE, { recursive: true })
  await installPrograms({
    ip: 'iproute2',
    tini: 'tini',
    go: 'golang',
    '/usr/lib/python3*/ensurepip': 'python3-venv',
  })
  await checkChart(folder)
  await setUp(() => undefined)
  await checkKubernetesFiles({
    ...{ helm: await tool('helm'), kustomize: await tool('kustomize'), validate: await schemas() },
    ...{ folder, check, versions: KUBERNETES },
  })
  await serveChart({ helm: await tool('helm'), folder, check })
  await serveCompose({ folder, check })
  await serveUnit({ folder, check })
  await checkTerraform()
  if (process.env.TERRAFORM !== undefined) await testTerraform(folder)
} catch (error) {
  fail(error)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
finish()
