/**
 * Implements `latchkey completion SHELL`, which prints completion scripts for bash, zsh and fish.
 * The scripts are generated from the table of commands.
 */
// SPDX-License-Identifier: Apache-2.0
import { allFlagsOf, type Command, type NamedCommand, UsageError } from '../../terminal/command.ts'

/**
 * A node in the tree of commands: a word that other words or flags can follow. The root has the
 * path ''.
 */
interface Node {
  readonly path: string
  readonly words: readonly string[]
  readonly flags: readonly string[]
}

const SHELLS: Readonly<Record<string, (nodes: readonly Node[]) => string>> = {
  bash: toBash,
  zsh: toZsh,
  fish: toFish,
}

export function createCompletion(loadAll: () => Promise<readonly NamedCommand[]>): Command {
  return {
    operands: ['SHELL'],
    flags: {},
    examples: [
      'latchkey completion bash > ~/.local/share/bash-completion/completions/latchkey',
      'latchkey completion zsh > ~/.zfunc/_latchkey',
      'latchkey completion fish > ~/.config/fish/completions/latchkey.fish',
    ],
    async run({ operands: [shell = ''], output }) {
      const write = Object.hasOwn(SHELLS, shell) ? SHELLS[shell] : undefined
      if (write === undefined) {
        const known = Object.keys(SHELLS).join(', ')
        throw new UsageError('INPUT_INVALID', `unknown shell ${shell}: expected ${known}`)
      }
      const script = write(toNodes(await loadAll()))
      output.result(script, { shell, script })
    },
  }
}

/** Returns a node for each group and each command; `restore` is both. */
export function toNodes(commands: readonly NamedCommand[]): readonly Node[] {
  const words = new Map<string, Set<string>>()
  for (const { name } of commands) {
    const parts = name.split(' ')
    parts.forEach((word, i) => {
      const path = parts.slice(0, i).join(' ')
      words.set(path, (words.get(path) ?? new Set()).add(word))
    })
  }
  const flags = new Map(
    commands.map((one) => [one.name, Object.keys(allFlagsOf(one)).map((flag) => `--${flag}`)]),
  )
  return [...new Set([...words.keys(), ...flags.keys()])].map((path) => ({
    path,
    words: [...(words.get(path) ?? [])],
    flags: flags.get(path) ?? [],
  }))
}

/** Joins the paths into a pattern for a shell's `case`. */
const paths = (nodes: readonly Node[]) =>
  nodes
    .filter(({ path }) => path !== '')
    .map(({ path }) => `'${path}'`)
    .join(' | ')

/**
 * Returns shell code, for bash and zsh, that finds the command typed so far and sets what can
 * follow it.
 */
function findNode(
  nodes: readonly Node[],
  cases: readonly string[],
  { first, end, words }: { readonly first: number; readonly end: string; readonly words: string },
): string {
  return `  for ((i = ${String(first)}; i < ${end}; i++)); do
    next="\${node:+$node }\${${words}[i]}"
    case "$next" in
    ${paths(nodes)}) node=$next ;;
    *) break ;;
    esac
  done
  case "$node" in
${cases.join('\n')}
  esac`
}

function toBash(nodes: readonly Node[]): string {
  const cases = nodes.map(
    ({ path, words, flags }) =>
      `    '${path}') words='${words.join(' ')}' flags='${flags.join(' ')}' ;;`,
  )
  return `# Bash completion for latchkey.
_latchkey() {
  local word=\${COMP_WORDS[COMP_CWORD]} node= next i words= flags=
${findNode(nodes, cases, { first: 1, end: 'COMP_CWORD', words: 'COMP_WORDS' })}
  if [[ $word == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$word"))
  elif ((i == COMP_CWORD)) && [[ -n $words ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$word"))
  else
    COMPREPLY=($(compgen -f -- "$word"))
  fi
}
complete -o filenames -F _latchkey latchkey
`
}

function toZsh(nodes: readonly Node[]): string {
  const cases = nodes.map(
    ({ path, words, flags }) =>
      `    '${path}') names=(${words.join(' ')}) flags=(${flags.join(' ')}) ;;`,
  )
  return `#compdef latchkey
# Zsh completion for latchkey.
_latchkey() {
  local node= next i
  local -a names flags
${findNode(nodes, cases, { first: 2, end: 'CURRENT', words: 'words' })}
  if [[ $PREFIX == -* ]]; then
    compadd -a flags
  elif ((i == CURRENT && \${#names} > 0)); then
    compadd -a names
  else
    _files
  fi
}
if [[ \${funcstack[1]} == _latchkey ]]; then _latchkey "$@"; else compdef _latchkey latchkey; fi
`
}

function toFish(nodes: readonly Node[]): string {
  const lines = nodes.flatMap(({ path, words, flags }) => [
    ...(words.length === 0
      ? []
      : [`complete -c latchkey -f -n '__latchkey_at "${path}"' -a '${words.join(' ')}'`]),
    ...flags.map(
      (flag) => `complete -c latchkey -n '__latchkey_below "${path}"' -l ${flag.slice(2)}`,
    ),
  ])
  return `# Fish completion for latchkey.
function __latchkey_at
    set -l given (commandline -opc)
    test "$given[2..-1]" = "$argv[1]"
end
function __latchkey_below
    set -l given (commandline -opc)
    string match -q -- "$argv[1] *" "$given[2..-1] "
end
${lines.join('\n')}
`
}
