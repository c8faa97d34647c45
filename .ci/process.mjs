// Runs commands for the other scripts in this folder.
// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** Linux counts processor time in hundredths of a second. */
const TICKS_PER_SECOND = 100

/** Returns the processor time in seconds of exited children and their descendants, or 0 if there is no /proc. */
export function cpuOfChildren() {
  try {
    const text = readFileSync('/proc/self/stat', 'utf8')
    // cutime and cstime are fields 16 and 17. Field 2, the name in parentheses, may contain spaces.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[13]) + Number(fields[14])) / TICKS_PER_SECOND
  } catch {
    return 0
  }
}

let cpuCounted = 0

/** Returns the processor time of the child that has just exited. */
function takeCpu() {
  const before = cpuCounted
  cpuCounted = cpuOfChildren()
  return cpuCounted - before
}

/**
 * @param {string} command
 * @param {readonly string[]} operands
 * @param {{ env?: Record<string, string>, cwd?: string, show?: boolean, timeoutMs?: number }} options
 * @returns {Promise<{ code: number, output: string, stdout: string, cpuSeconds: number }>} `output`: both streams, in
 * the order received; `cpuSeconds`: processor time of the process and its children
 */
export function run(command, operands, { env = {}, cwd = ROOT, show = false, timeoutMs } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, operands, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    })
    let output = ''
    let stdout = ''
    let cpuSeconds = 0
    const take = (chunk) => {
      output += chunk
      if (show) process.stdout.write(chunk)
    }
    child.stdout.setEncoding('utf8').on('data', take)
    child.stdout.on('data', (chunk) => (stdout += chunk))
    child.stderr.setEncoding('utf8').on('data', take)
    child.once('error', (error) =>
      resolve({ code: 127, output: `${output}${error.message}\n`, stdout, cpuSeconds }),
    )
    child.once('exit', () => (cpuSeconds = takeCpu()))
    child.once('close', (code, signal) => {
      if (signal !== null) output += `\nended by ${signal}\n`
      resolve({ code: code ?? 1, output, stdout, cpuSeconds })
    })
  })
}

/** Works like `run`, but throws an error that contains the output if the command fails. */
export async function must(command, operands, options) {
  const { code, output } = await run(command, operands, options)
  if (code !== 0) {
    throw new Error(`${command} ${operands.join(' ')} ended with ${code}:\n${output}`)
  }
  return output
}

/**
 * Compiles with TypeScript 7. It is not in node_modules/.bin, which has version 5 for tools that read the syntax tree.
 * @param {string} project the folder with tsconfig.json
 */
export async function compile(project) {
  await must(process.execPath, ['node_modules/typescript-7/bin/tsc', '-p', project])
}

/** @returns {Promise<boolean>} whether the program is on the PATH or, for an absolute path, whether the file exists */
export async function has(program) {
  const look = program.startsWith('/') ? `ls ${program}` : `command -v ${program}`
  return (await run('sh', ['-c', look])).code === 0
}

/**
 * Installs the Debian packages for missing programs and files, if any.
 * @throws if packages are missing and the user is not root
 */
export async function installPrograms(programs) {
  const missing = []
  for (const [program, debianPackage] of Object.entries(programs)) {
    if (!(await has(program))) missing.push(debianPackage)
  }
  if (missing.length === 0) return
  if (process.env.LATCHKEY_ASK !== undefined) {
    const install = `apt-get install ${missing.join(' ')}`
    throw new Error(
      `missing: ${missing.join(', ')}. Install them (Debian: ${install}), or let this command do so: LATCHKEY_INSTALL=1`,
    )
  }
  if (process.getuid?.() !== 0 || !(await has('apt-get'))) {
    throw new Error(`please install: ${missing.join(' ')}`)
  }
  process.stdout.write(`installing ${missing.join(' ')}\n`)
  const env = { DEBIAN_FRONTEND: 'noninteractive' }
  await run('apt-get', ['update', '-q'], { env })
  await must('apt-get', ['install', '-qy', '--no-install-recommends', ...missing], { env })
}
