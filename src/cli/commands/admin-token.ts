/** Implements `latchkey admin token`. */
// SPDX-License-Identifier: Apache-2.0
import { ROLES } from '../../core/role.ts'
import { createToken } from '../../admin/operators/directory.ts'
import { type Command, UsageError, stringFlag } from '../../terminal/command.ts'
import { writePrivateFile } from '../../terminal/files.ts'

export const adminToken: Command = {
  flags: {
    name: {
      type: 'string',
      value: 'NAME',
      description: 'Name of the token holder, recorded with every action.',
    },
    role: {
      type: 'string',
      value: 'ROLE',
      description: 'Role: viewer, auditor, operator, custodian or admin.',
    },
    output: {
      type: 'string',
      value: 'FILE',
      description: 'Write the token to a new file, mode 0600, instead of printing it.',
    },
  },
  examples: [
    'latchkey admin token --name prometheus --role viewer --output prometheus.token',
    'latchkey admin token --name on-call --role operator',
  ],
  async run(context) {
    const name = stringFlag(context, 'name')
    const role = stringFlag(context, 'role')
    if (name === undefined || role === undefined) {
      throw new UsageError('USAGE', '--name and --role are required')
    }
    if (!ROLES.some((one) => one === role)) {
      throw new UsageError('INPUT_INVALID', `unknown role ${role}: expected ${ROLES.join(', ')}`)
    }
    const { token, sha256 } = createToken()
    const file = stringFlag(context, 'output')
    if (file !== undefined) await writePrivateFile(file, `${token}\n`)
    context.output.result(
      [
        ...(file === undefined
          ? [`token  ${token}`, '       shown only once; Latchkey does not store it']
          : []),
        'add this to admin.tokens in latchkey.yaml, then restart or reload:',
        `  - name: ${name}`,
        `    role: ${role}`,
        `    sha256: ${sha256}`,
      ].join('\n'),
      { name, role, sha256, ...(file === undefined ? { token } : { file }) },
    )
  },
}
