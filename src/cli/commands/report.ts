/** Implements `latchkey report`. */
// SPDX-License-Identifier: Apache-2.0
import { open, stat } from 'node:fs/promises'
import { openKeyBackend } from '../../app/key-backends.ts'
import { loadConfig } from '../../config/load.ts'
import { VERSION } from '../../openapi/document.gen.ts'
import {
  CONFIG_FLAG,
  type Command,
  type Context,
  KEY_STORE_FLAG,
  configPath,
  findKeyStore,
  stringFlag,
} from '../../terminal/command.ts'
import { writeOutputFile } from '../../terminal/files.ts'
import { REMOTE_FLAGS, type Remote, loadRemote, requireKeyId } from '../../terminal/flags/remote.ts'
import { countFlag } from '../../terminal/flags/time.ts'
import { startDemoServer } from '../../tools/report/demo-server.ts'
import { type ReportData, StageReader } from '../../tools/report/findings.ts'
import { measureAll } from '../../tools/report/measure.ts'
import { leadOf } from '../../tools/report/page-sections.ts'
import { renderPage } from '../../tools/report/page.ts'

export const report: Command = {
  flags: {
    ...REMOTE_FLAGS,
    endpoint: {
      ...REMOTE_FLAGS.endpoint,
      description: 'Proxy to measure (default: a Latchkey demo that the command starts).',
    },
    ...CONFIG_FLAG,
    config: {
      ...CONFIG_FLAG.config,
      description:
        'With --endpoint: configuration file whose key backend is also measured on its own.',
    },
    ...KEY_STORE_FLAG,
    log: {
      type: 'string',
      value: 'FILE',
      description:
        'With --endpoint: request log of that Latchkey server, which records the time spent in each stage.',
    },
    out: {
      type: 'string',
      value: 'FILE',
      description: 'HTML page to write; the JSON file is written beside it (default: report.html).',
    },
    calls: {
      type: 'string',
      value: 'N',
      description: 'Number of calls to each operation in each measurement (default: 2000).',
    },
    connections: {
      type: 'string',
      value: 'N',
      description: 'Number of new connections for each operation (default: 200).',
    },
    seconds: {
      type: 'string',
      value: 'N',
      description: 'How long to run at each rate, in seconds (default: 5).',
    },
    'max-rate': {
      type: 'string',
      value: 'N',
      description: 'Highest rate to try (default: 16000).',
    },
  },
  examples: [
    'latchkey report',
    'latchkey report -e https://xks.example.com --credential kms-console.json -k payroll-2026 --out xks.html',
  ],
  async run(context) {
    const out = stringFlag(context, 'out') ?? 'report.html'
    const data = await (stringFlag(context, 'endpoint') === undefined
      ? measureDemo(context)
      : measureRemote(context))
    await writeOutputFile(out, await renderPage(data))
    const jsonFile = `${out.replace(/\.html?$/, '')}.json`
    await writeOutputFile(jsonFile, `${JSON.stringify(data, undefined, 2)}\n`)
    context.output.result(`${leadOf(data)}\n\n${out}\n${jsonFile}`, { page: out, ...data })
  },
}

async function measureDemo(context: Context): Promise<ReportData> {
  const reader = new StageReader()
  const server = await startDemoServer((line) => {
    reader.take(line)
  })
  try {
    return await measure(context, server.remote, server.configFile, () => {
      // The log lags by at most 0.3 seconds, and the lines already written are enough for medians.
      return Promise.resolve(reader.accounts())
    })
  } finally {
    await server.stop()
  }
}

async function measureRemote(context: Context): Promise<ReportData> {
  const remote = await loadRemote(context)
  const log = stringFlag(context, 'log')
  const from = log === undefined ? 0 : (await stat(log)).size
  const hasConfig =
    stringFlag(context, 'config') !== undefined ||
    context.environment['LATCHKEY_CONFIG'] !== undefined
  return measure(context, remote, hasConfig ? configPath(context) : undefined, async () => {
    const reader = new StageReader()
    if (log !== undefined) for (const line of await readLines(log, from)) reader.take(line)
    return reader.accounts()
  })
}

/** Reads the lines that were written since the last call. */
async function readLines(path: string, from: number): Promise<readonly string[]> {
  const file = await open(path)
  try {
    const chunks: Buffer[] = []
    for await (const chunk of file.createReadStream({ start: from, autoClose: false })) {
      chunks.push(chunk as Buffer)
    }
    // The last line may be incomplete.
    return Buffer.concat(chunks).toString('utf8').split('\n').slice(0, -1)
  } finally {
    await file.close()
  }
}

async function measure(
  context: Context,
  remote: Remote,
  configFile: string | undefined,
  stages: Parameters<typeof measureAll>[0]['stages'],
): Promise<ReportData> {
  const config =
    configFile === undefined ? undefined : await loadConfig(configFile, context.environment)
  const opened = config && (await openKeyBackend(config, findKeyStore(context, config)))
  try {
    return await measureAll({
      remote,
      keyId: requireKeyId(remote),
      ...(opened === undefined ? {} : { backend: opened.backend }),
      calls: countFlag(context, 'calls', { otherwise: 2000, least: 10, most: 1_000_000 }),
      connections: countFlag(context, 'connections', { otherwise: 200, least: 3, most: 10_000 }),
      secondsPerRate: countFlag(context, 'seconds', { otherwise: 5, least: 1, most: 3600 }),
      maxRate: countFlag(context, 'max-rate', { otherwise: 16_000, least: 125, most: 102_400 }),
      version: VERSION,
      note: (text) => {
        context.output.note(text)
      },
      stages,
    })
  } finally {
    await opened?.close()
  }
}
