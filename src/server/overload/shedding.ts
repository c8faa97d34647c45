/** The cheapest answer that says so: ThrottlingException, before anything is looked at. */
// SPDX-License-Identifier: Apache-2.0
import type { RequestListener, ServerResponse } from 'node:http'
import type { ApiSchemas } from '../../openapi/schemas.ts'
import { XksError } from '../../xks/errors.ts'
import type { Admission } from './admission.ts'

export interface Shedding {
  /**
   * Stands before Fastify: who would be served too late is answered here. `flush` is called before, so
   * that reading and refusing many more does not make those late who were admitted.
   */
  before(handler: RequestListener, flush: () => void): RequestListener
  refuse(response: ServerResponse): void
}

export function createShedding(
  schemas: ApiSchemas,
  admission: Admission,
  onShed: () => void,
): Shedding {
  const { errorName, message: errorMessage, status } = new XksError('ThrottlingException')
  const body = schemas.encode('ErrorResponse', { errorName, errorMessage })
  const headers = ['content-type', 'application/json', 'content-length', String(body.length)]

  function refuse(response: ServerResponse): void {
    onShed()
    response.writeHead(status, headers)
    response.end(body, 'latin1')
  }

  return {
    refuse,
    before: (handler, flush) => (request, response) => {
      if (admission.admits() || isExempt(request.method, request.url)) handler(request, response)
      else {
        flush()
        refuse(response)
      }
    },
  }
}

/** Load balancers and KMS's own health polling learn the state of the proxy, not of its load. */
function isExempt(method: string | undefined, target: string | undefined): boolean {
  return method === 'GET' || target?.endsWith('/health') === true
}
