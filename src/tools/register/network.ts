/**
 * Connects to AWS from an operator's network, through its proxy and with the certificate
 * authorities in AWS_CA_BUNDLE.
 */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import type https from 'node:https'
import { createHttpsAgent, type Proxy, readProxy } from '../../core/proxy.ts'
import { UsageError } from '../../terminal/command.ts'

/**
 * Returns the agent for connections to AWS.
 * @throws UsageError for a proxy that is not a URL; a system error for a bundle that cannot be read
 */
export async function createAwsAgent(environment: NodeJS.ProcessEnv): Promise<https.Agent> {
  const bundle = environment['AWS_CA_BUNDLE'] ?? ''
  const ca = bundle === '' ? {} : { ca: await readFile(bundle) }
  return createHttpsAgent(findProxy(environment), { ...ca, keepAlive: true, maxSockets: 50 })
}

function findProxy(environment: NodeJS.ProcessEnv): Proxy | undefined {
  try {
    return readProxy(environment)
  } catch (error) {
    throw new UsageError('USAGE', (error as Error).message)
  }
}
