/** What the operating system refused, in a sentence: Node's own has the name of a call in it. */
// SPDX-License-Identifier: Apache-2.0

export interface Sentence {
  readonly message: string
  readonly hint?: string
}

const FILES: ReadonlyMap<string, string> = new Map([
  ['ENOENT', 'there is no such file'],
  ['EACCES', 'may not be opened by this user'],
  ['EPERM', 'may not be changed by this user'],
  ['EISDIR', 'is a folder'],
  ['ENOTDIR', 'has a file where a folder should be'],
  ['EROFS', 'is on a read-only file system'],
  ['ENOSPC', 'the disk is full'],
])

const ADDRESSES: ReadonlyMap<string, Sentence> = new Map([
  [
    'EADDRINUSE',
    {
      message: 'another process listens there',
      hint: 'end it, or choose another port',
    },
  ],
  ['EADDRNOTAVAIL', { message: 'is no address of this host' }],
  ['EACCES', { message: 'may not be bound by this user', hint: 'ports below 1024 are for root' }],
])

/** Undefined for what is no failure of a system call, or one that has no better sentence. */
export function describeSystemError(error: unknown): Sentence | undefined {
  if (!(error instanceof Error)) return undefined
  const { code, syscall, path, address, port } = error as NodeJS.ErrnoException & {
    readonly address?: string
    readonly port?: number
  }
  if (code === undefined || syscall === undefined) return undefined
  if (syscall === 'listen' || syscall === 'bind') {
    const known = ADDRESSES.get(code)
    return known && { ...known, message: `${toAddress(address, port)}: ${known.message}` }
  }
  const known = FILES.get(code)
  return path === undefined || known === undefined ? undefined : { message: `${path}: ${known}` }
}

function toAddress(address = '', port = 0): string {
  return `${address.includes(':') ? `[${address}]` : address}:${String(port)}`
}
