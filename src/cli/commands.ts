/** All commands in the order of the overview. A command's module is loaded when it is called. */
// SPDX-License-Identifier: Apache-2.0
import type { NamedCommand } from '../terminal/command.ts'
import { KEY_COMMANDS } from './key-commands.ts'
import { type Entry, OBSERVATION_COMMANDS } from './observation-commands.ts'
import { TRIPWIRE_COMMANDS } from './tripwire-commands.ts'
import { OPERATOR_COMMANDS } from './operator-commands.ts'

/** Commands by name: a word, or a group and a word. */
export const COMMANDS: ReadonlyMap<string, Entry> = new Map(
  Object.entries<Entry>({
    quickstart: {
      summary:
        'Set up a demo, serve it on https://localhost:8443 and test it with a signed encrypt/decrypt round trip',
      load: async () => (await import('./commands/quickstart.ts')).quickstart,
    },
    simulate: {
      summary:
        'Simulate KMS and a vendor on AWS against a running server, with a kill and a restore',
      load: async () => (await import('./commands/simulate.ts')).simulate,
    },
    kms: {
      summary:
        'Emulate KMS for your own application: AWS SDKs and tools call it, and it calls your proxy',
      load: async () => (await import('./commands/kms.ts')).kms,
    },
    init: {
      summary: 'Write a first latchkey.yaml, a master key and an empty store; never overwrites',
      load: async () => (await import('./commands/init.ts')).init,
    },
    serve: {
      summary: 'Run the proxy until SIGTERM or SIGINT, then drain',
      load: async () => (await import('./commands/serve.ts')).serve,
    },
    kill: {
      summary: 'Stop decryption and encryption immediately, and wait until every instance refuses',
      load: async () => (await import('./commands/kill.ts')).kill,
    },
    restore: {
      summary: 'Lift kill switches, or request it if control.restore demands that',
      load: async () => (await import('./commands/restore.ts')).restore,
    },
    'restore approve': {
      summary: 'Approve a restore request, or carry it out once its delay is over',
      load: async () => (await import('./commands/restore.ts')).restoreApprove,
    },
    'restore withdraw': {
      summary: 'Withdraw a restore request',
      load: async () => (await import('./commands/restore.ts')).restoreWithdraw,
    },
    status: {
      summary: 'Show what is stopped, and what each instance has applied',
      load: async () => (await import('./commands/status.ts')).status,
    },
    exposure: {
      summary: 'Show who fetched data keys, what they still work for after a kill, and until when',
      load: async () => (await import('./commands/exposure.ts')).exposure,
    },
    'receipt list': {
      summary: 'List the receipts of revocations, newest first',
      load: async () => (await import('./commands/receipt.ts')).receiptList,
    },
    'receipt show': {
      summary: 'Print the newest signed receipt of a switch',
      load: async () => (await import('./commands/receipt.ts')).receiptShow,
    },
    'receipt verify': {
      summary: 'Check the signature of a receipt; needs no store when the public key is given',
      load: async () => (await import('./commands/receipt.ts')).receiptVerify,
    },
    'receipt key': {
      summary: 'Print the public key that verifies receipts, for auditors',
      load: async () => (await import('./commands/receipt.ts')).receiptKey,
    },
    'context add': {
      summary: 'Save an admin listener under a name, for use by operator commands',
      load: async () => (await import('./commands/context.ts')).contextAdd,
    },
    'context use': {
      summary: 'Choose the admin listener to call, or local for the control store of this host',
      load: async () => (await import('./commands/context.ts')).contextUse,
    },
    'context list': {
      summary: 'List the named admin listeners',
      load: async () => (await import('./commands/context.ts')).contextList,
    },
    'context remove': {
      summary: 'Forget a named admin listener',
      load: async () => (await import('./commands/context.ts')).contextRemove,
    },
    drill: {
      summary: 'Kill and restore the test key latchkey-drill on the live fleet, and time both',
      load: async () => (await import('./commands/drill.ts')).drill,
    },
    'deadman start': {
      summary: "Start a dead man's switch: the key store closes unless it is renewed in time",
      load: async () => (await import('./commands/deadman.ts')).deadmanStart,
    },
    'deadman renew': {
      summary: "Renew a dead man's switch for another period from now",
      load: async () => (await import('./commands/deadman.ts')).deadmanRenew,
    },
    'deadman close': {
      summary: "Close a key store with a dead man's switch now, until it is reopened",
      load: async () => (await import('./commands/deadman.ts')).deadmanClose,
    },
    'deadman end': {
      summary: "End a dead man's switch: the key store no longer needs renewals",
      load: async () => (await import('./commands/deadman.ts')).deadmanEnd,
    },
    'control accept-epoch': {
      summary: 'Accept a control store that was restored from a backup',
      load: async () => (await import('./commands/control.ts')).controlAcceptEpoch,
    },
    'store backup': {
      summary: 'Write a backup of the control store while servers run, and verify it',
      load: async () => (await import('./commands/store.ts')).storeBackup,
    },
    'store verify': {
      summary: 'Verify a backup by loading it into a temporary store',
      load: async () => (await import('./commands/store.ts')).storeVerify,
    },
    'store recover': {
      summary: 'Load a backup in place of the store, show what is lost, and accept its epoch',
      load: async () => (await import('./commands/store.ts')).storeRecover,
    },
    'store copy': {
      summary: 'Copy the store to another place, from SQLite to PostgreSQL or back',
      load: async () => (await import('./commands/store.ts')).storeCopy,
    },
    'store rekey': {
      summary: 'Replace the master key of the store',
      load: async () => (await import('./commands/store-custody.ts')).storeRekey,
    },
    'store recovery-key': {
      summary: 'Make a recovery key for escrows, split among several people',
      load: async () => (await import('./commands/store-recovery-key.ts')).storeRecoveryKey,
    },
    'store escrow': {
      summary: "Encrypt the store's key to a recovery key, in case the master key is lost",
      load: async () => (await import('./commands/store-custody.ts')).storeEscrow,
    },
    'config check': {
      summary: 'Check a configuration file and report everything that is wrong with it',
      load: async () => (await import('./commands/config.ts')).configCheck,
    },
    'config schema': {
      summary: 'Print the JSON Schema of the configuration file, for editors',
      load: async () => (await import('./commands/config.ts')).configSchema,
    },
    ...KEY_COMMANDS,
    'credentials create': {
      summary:
        "Create a credential for KMS and print the KMS console's JSON file; its secret is shown once",
      load: async () => (await import('./commands/credentials-create.ts')).credentialsCreate,
    },
    'credentials list': {
      summary: 'List credentials, without their secrets',
      load: async () => (await import('./commands/credentials.ts')).credentialsList,
    },
    'credentials expire': {
      summary: 'Set the time from which a credential is refused',
      load: async () => (await import('./commands/credentials.ts')).credentialsExpire,
    },
    'credentials revoke': {
      summary: 'Refuse a credential from now on, and erase its secret permanently',
      load: async () => (await import('./commands/credentials.ts')).credentialsRevoke,
    },
    ...OPERATOR_COMMANDS,
    doctor: {
      summary: 'Check an XKS proxy of any vendor from outside, as KMS sees it',
      load: async () => (await import('./commands/doctor.ts')).doctor,
    },
    bench: {
      summary: 'Load an XKS proxy at constant rates, and find the highest rate that it sustains',
      load: async () => (await import('./commands/bench.ts')).bench,
    },
    'policy put': {
      summary: 'Put policies in force, or in shadow mode, from a file or a folder',
      load: async () => (await import('./commands/policy.ts')).policyPut,
    },
    'policy delete': {
      summary: 'Delete a policy document',
      load: async () => (await import('./commands/policy.ts')).policyDelete,
    },
    'policy promote': {
      summary: 'Put the policies in shadow mode into force',
      load: async () => (await import('./commands/policy.ts')).policyPromote,
    },
    'policy discard': {
      summary: 'Discard the policies in shadow mode',
      load: async () => (await import('./commands/policy.ts')).policyDiscard,
    },
    'policy rollback': {
      summary: 'Put the policies of an earlier revision in force',
      load: async () => (await import('./commands/policy.ts')).policyRollback,
    },
    'policy list': {
      summary: 'List the policy documents',
      load: async () => (await import('./commands/policy-show.ts')).policyList,
    },
    'policy get': {
      summary: 'Print a policy document',
      load: async () => (await import('./commands/policy-show.ts')).policyGet,
    },
    'policy history': {
      summary: 'List the revisions of the policies, newest first',
      load: async () => (await import('./commands/policy-show.ts')).policyHistory,
    },
    'policy schema': {
      summary: 'Print the Cedar schema of policies',
      load: async () => (await import('./commands/policy-show.ts')).policySchema,
    },
    'policy check': {
      summary: 'Check policies strictly against the schema, without storing them',
      load: async () => (await import('./commands/policy-try.ts')).policyCheck,
    },
    'policy test': {
      summary: 'Run test cases (requests with expected decisions) against policies',
      load: async () => (await import('./commands/policy-try.ts')).policyTest,
    },
    'policy explain': {
      summary: 'Explain a decision: which policies decided, which almost did',
      load: async () => (await import('./commands/policy-try.ts')).policyExplain,
    },
    'policy simulate': {
      summary: 'Show from recorded usage who would be refused',
      load: async () => (await import('./commands/policy-usage.ts')).policySimulate,
    },
    'policy suggest': {
      summary: 'Write policies that permit exactly the recorded usage',
      load: async () => (await import('./commands/policy-usage.ts')).policySuggest,
    },
    'policy import': {
      summary: "Translate the policies of AWS's sample proxy",
      load: async () => (await import('./commands/policy-usage.ts')).policyImport,
    },
    ...OBSERVATION_COMMANDS,
    ...TRIPWIRE_COMMANDS,
    register: {
      summary: 'Register a key store with AWS KMS: check, create, connect, add a KMS key, test it',
      load: async () => (await import('./commands/register.ts')).register,
    },
    'rotate-credentials': {
      summary:
        'Rotate the credential that KMS signs with: create a new one, wait until the old one is unused, revoke it',
      load: async () => (await import('./commands/rotate-credentials.ts')).rotateCredentials,
    },
    unregister: {
      summary: 'Disconnect a key store from KMS and delete it; refused while it has KMS keys',
      load: async () => (await import('./commands/unregister.ts')).unregister,
    },
    report: {
      summary: 'Measure what an external key adds, and write the result as one HTML page and JSON',
      load: async () => (await import('./commands/report.ts')).report,
    },
    completion: {
      summary: 'Print a script that completes commands and flags in bash, zsh or fish',
      load: async () => (await import('./commands/completion.ts')).createCompletion(loadAll),
    },
    version: {
      summary: 'Print the version',
      load: async () => (await import('./commands/version.ts')).version,
    },
  }),
)

function loadAll(): Promise<readonly NamedCommand[]> {
  return Promise.all([...COMMANDS.keys()].map(loadCommand))
}

/** @throws TypeError if there is no such command */
export async function loadCommand(name: string): Promise<NamedCommand> {
  const entry = COMMANDS.get(name)
  if (entry === undefined) throw new TypeError(`there is no command ${name}`)
  return { name, summary: entry.summary, ...(await entry.load()) }
}
