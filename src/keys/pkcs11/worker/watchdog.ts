/** Kills the module's process when its parent exits, even while the module blocks. */
// SPDX-License-Identifier: Apache-2.0
import { readSync } from 'node:fs'

/** Pipe that carries no data and closes when the parent exits. */
const LIFELINE_FD = 4

readSync(LIFELINE_FD, Buffer.alloc(1))
process.kill(process.pid, 'SIGKILL')
