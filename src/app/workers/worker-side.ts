/** A worker's end of the line to its primary process. */
// SPDX-License-Identifier: Apache-2.0
import cluster from 'node:cluster'
import { packError, type CallName, type FromWorker, type ToWorker } from './messages.ts'

export type CallHandlers = Readonly<Record<CallName, (input: unknown) => unknown>>

/** Answers the primary's calls. Signals that it passes on reach the handlers of `process`. */
export function answerCalls(handlers: CallHandlers): void {
  process.on('message', (message) => {
    const said = message as ToWorker
    // Emitted rather than sent by kill: a signal without a handler would end the process.
    if (said.kind === 'signal') process.emit(said.signal, said.signal)
    else void answer(said, handlers[said.name])
  })
  say({ kind: 'hello' })
}

async function answer(
  { id, name, input }: Extract<ToWorker, { kind: 'call' }>,
  handle: (input: unknown) => unknown,
): Promise<void> {
  try {
    const value: unknown = await handle(input)
    say({ kind: 'answer', id, value }, () => {
      if (name === 'stop') process.exit(0)
    })
  } catch (error) {
    say({ kind: 'failure', id, error: packError(error) }, () => {
      if (name === 'start' || name === 'stop') process.exit(1)
    })
  }
}

function say(message: FromWorker, done: () => void = () => undefined): void {
  process.send?.(message, undefined, undefined, done)
}

/**
 * Calls `end` when the primary process is gone, however it went: the kernel closes the line. Node by
 * itself would end the process at once, in the middle of its answers.
 */
export function onPrimaryGone(end: () => void): void {
  const { worker } = cluster
  worker?.once('disconnect', () => {
    worker.exitedAfterDisconnect = true
    end()
  })
}
