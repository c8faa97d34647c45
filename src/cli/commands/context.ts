/** Implements `latchkey context add | use | list | remove`. */
// SPDX-License-Identifier: Apache-2.0
import { type Command, UsageError, stringFlag } from '../../terminal/command.ts'
import {
  type AdminContext,
  LOCAL,
  loadContexts,
  parseAddress,
  saveContexts,
  toAbsolute,
} from '../../terminal/contexts.ts'

const NAME = /^[a-z0-9][a-z0-9-]{0,63}$/

export const contextAdd: Command = {
  operands: ['NAME'],
  flags: {
    address: {
      type: 'string',
      value: 'URL',
      description: 'Address of the admin listener, https://host:port (required).',
    },
    'token-file': {
      type: 'string',
      value: 'FILE',
      description: 'File with the bearer token, mode 0600.',
    },
    ca: {
      type: 'string',
      value: 'FILE',
      description: 'PEM file of certificate authorities to trust, for a private CA.',
    },
    'client-certificate': {
      type: 'string',
      value: 'FILE',
      description: 'PEM file of the client certificate.',
    },
    'client-key': {
      type: 'string',
      value: 'FILE',
      description: 'PEM file of the private key of the client certificate.',
    },
  },
  examples: [
    'latchkey context add prod --address https://latchkey.example.com:8444 --token-file ~/.latchkey-token',
    'latchkey context add lab --address https://10.0.0.5:8444 --ca ca.crt --client-certificate me.crt --client-key me.key',
  ],
  async run(context) {
    const [name = ''] = context.operands
    const address = stringFlag(context, 'address')
    if (address === undefined) throw new UsageError('USAGE', '--address is missing')
    if (!NAME.test(name) || name === LOCAL) {
      throw new UsageError(
        'INPUT_INVALID',
        'expected a name of lower-case letters, digits and hyphens, other than "local"',
      )
    }
    const paths = {
      tokenFile: toAbsolute(stringFlag(context, 'token-file')),
      caFile: toAbsolute(stringFlag(context, 'ca')),
      clientCertificate: toAbsolute(stringFlag(context, 'client-certificate')),
      clientKey: toAbsolute(stringFlag(context, 'client-key')),
    }
    if ((paths.clientCertificate === undefined) !== (paths.clientKey === undefined)) {
      throw new UsageError('USAGE', '--client-certificate and --client-key must be given together')
    }
    const given = Object.entries(paths).filter(([, path]) => path !== undefined)
    const added: AdminContext = { address: parseAddress(address), ...Object.fromEntries(given) }
    const file = await loadContexts(context)
    const current = file.current ?? name
    await saveContexts(context, { current, contexts: { ...file.contexts, [name]: added } })
    context.output.result(`added context ${name}; current context: ${current}`, {
      name,
      ...added,
      current,
    })
  },
}

export const contextUse: Command = {
  operands: ['NAME'],
  flags: {},
  examples: ['latchkey context use prod', 'latchkey context use local'],
  async run(context) {
    const [name = ''] = context.operands
    const { contexts } = await loadContexts(context)
    if (name !== LOCAL && !Object.hasOwn(contexts, name)) {
      throw new UsageError('INPUT_INVALID', `there is no context ${name}`, {
        hint: 'run latchkey context list to see the contexts',
      })
    }
    await saveContexts(context, { current: name, contexts })
    const what = name === LOCAL ? 'the control store of this host' : (contexts[name]?.address ?? '')
    context.output.result(`current context: ${name} (${what})`, { current: name })
  },
}

export const contextList: Command = {
  flags: {},
  examples: ['latchkey context list'],
  async run(context) {
    const { current = LOCAL, contexts } = await loadContexts(context)
    const rows = Object.entries(contexts).map(([name, one]) => [
      ...[name === current ? '*' : '', name, one.address],
      one.clientCertificate ?? one.tokenFile ?? '-',
    ])
    const local = [current === LOCAL ? '*' : '', LOCAL, 'the control store of this host', '-']
    context.output.result(
      context.output.table(['IN USE', 'NAME', 'ADDRESS', 'CALLS WITH'], [local, ...rows]),
      {
        current,
        contexts,
      },
    )
  },
}

export const contextRemove: Command = {
  operands: ['NAME'],
  flags: {},
  examples: ['latchkey context remove lab'],
  async run(context) {
    const [name = ''] = context.operands
    const { current, contexts } = await loadContexts(context)
    const { [name]: removed, ...rest } = contexts
    if (removed === undefined) {
      throw new UsageError('INPUT_INVALID', `there is no context ${name}`)
    }
    const next = current === undefined || current === name ? LOCAL : current
    await saveContexts(context, { current: next, contexts: rest })
    context.output.result(`removed context ${name}; current context: ${next}`, {
      removed: name,
      current: next,
    })
  },
}
