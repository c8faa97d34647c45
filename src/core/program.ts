/** Runs a program that prints a secret. */
// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process'

/** Timeout in milliseconds, after which the program is killed. */
const TIMEOUT_MS = 30_000
const MAX_OUTPUT_BYTES = 65_536
/** Maximum length of a program's error message; the rest is cut off. */
const MAX_COMPLAINT = 200

/** The output of a program, or a sentence that says why there is none. */
export type ProgramResult = { readonly output: string } | { readonly problem: string }

/**
 * Runs a program without a shell and without input.
 * @param environment environment of the program (default: that of this process)
 */
export function runProgram(
  [program = '', ...operands]: readonly string[],
  environment?: NodeJS.ProcessEnv,
): Promise<ProgramResult> {
  return new Promise((resolve) => {
    const child = execFile(
      program,
      operands,
      {
        ...(environment === undefined ? {} : { env: environment }),
        timeout: TIMEOUT_MS,
        killSignal: 'SIGKILL',
        maxBuffer: MAX_OUTPUT_BYTES,
        encoding: 'utf8',
      },
      (error, output, complaint) => {
        resolve(error === null ? { output } : { problem: describe(program, error, complaint) })
      },
    )
    // A program that asks for a password would wait until the timeout, so its standard input is
    // closed. If the program has already ended, closing the input fails, which is not an error.
    child.stdin?.on('error', () => undefined)
    child.stdin?.end()
  })
}

type Failure = Error & { readonly code?: string | number | null; readonly killed?: boolean }

function describe(program: string, { code, killed }: Failure, complaint: string): string {
  if (code === 'ENOENT') return `the program ${program} does not exist`
  if (code === 'EACCES') return `no permission to run ${program}`
  if (code === 'ERR_CHILD_PROCESS_STDIO_MAXBUFFER')
    return `${program} printed more than ${String(MAX_OUTPUT_BYTES)} bytes`
  if (killed === true) return `${program} did not finish within ${String(TIMEOUT_MS / 1000)} s`
  const line = complaint.trim().split('\n').at(-1)?.slice(0, MAX_COMPLAINT) ?? ''
  const end = `${program} failed (${String(code ?? 'terminated by a signal')})`
  return line === '' ? end : `${end}: ${line}`
}
