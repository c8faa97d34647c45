/** Implements `latchkey login`. */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import { type Command, UsageError, stringFlag } from '../../terminal/command.ts'
import { CONTEXT_FLAG, findAdminTarget, saveLogin } from '../../terminal/contexts.ts'

export const login: Command = {
  flags: {
    'issuer-ca': {
      type: 'string',
      value: 'FILE',
      description:
        'PEM file of certificate authorities to trust for the identity provider, if it uses a private CA.',
    },
    ...CONTEXT_FLAG,
  },
  examples: ['latchkey login', 'latchkey login --context prod'],
  async run(context) {
    const target = await findAdminTarget(context)
    if (target === undefined) {
      throw new UsageError('USAGE', 'no admin listener to log in to', {
        hint: 'set LATCHKEY_ADDR, or add a context with latchkey context add',
      })
    }
    const { createAdminHttp } = await import('../../admin/client/http.ts')
    const { createAdminApi } = await import('../../admin/client/api.ts')
    const { logIn } = await import('../../admin/oidc/device-flow.ts')
    const file = stringFlag(context, 'issuer-ca')
    const ca = file === undefined ? undefined : await readFile(file, 'utf8')
    // Do not send the token of an earlier login.
    const { url, ca: authorities, clientCertificate } = target
    const bare = {
      url,
      ...(authorities === undefined ? {} : { ca: authorities }),
      ...(clientCertificate && { clientCertificate }),
    }
    const api = createAdminApi(createAdminHttp(bare))
    try {
      const settings = await api.get('/admin/v1/login')
      const token = await logIn(settings, ca, (uri, userCode) => {
        context.output.note(`open ${uri} and confirm the code ${userCode}`)
      })
      await saveLogin(context, url, token)
      const known = createAdminApi(createAdminHttp({ ...bare, token }))
      const { name, role } = await known.get('/admin/v1/about').finally(known.close)
      context.output.result(`logged in to ${url} as ${name}, ${role}`, {
        ...{ url, name, role },
      })
    } finally {
      api.close()
    }
  },
}
