/** All commands in the order of the overview. A command's module is loaded when it is called. */
// SPDX-License-Identifier: Apache-2.0
import type { NamedCommand } from '../terminal/command.ts'
import { KEY_COMMANDS } from './key-commands.ts'
import { type Entry, OBSERVATION_COMMANDS } from './observation-commands.ts'
import { TRIPWIRE_COMMANDS } from './tripwire-commands.ts'
import { OPERATOR_COMMANDS } from './operator-commands.ts'

/** Commands by name: one word, or a group followed by a word. */
export const COMMANDS: ReadonlyMap<string, Entry> = new Map(
  Object.entries<Entry>({
    quickstart: {
      summary:
        'Set up a demo, serve it on https://localhost:8443, and test it with a signed encrypt/decrypt round trip',
      load: async () => (await import('./commands/quickstart.ts')).quickstart,
    },
    simulate: {
      summary:
        'Simulate KMS and a software vendor on AWS against a running server, including a kill and a restore',
      load: async () => (await import('./commands/simulate.ts')).simulate,
    },
    kms: {
      summary:
        'Emulate KMS for your own applications: AWS SDKs and tools call the emulator, and it calls your proxy',
      load: async () => (await import('./commands/kms.ts')).kms,
    },
    init: {
      summary:
        'Create an initial latchkey.yaml, a master key and an empty store, without overwriting existing files',
      load: async () => (await import('./commands/init.ts')).init,
    },
    serve: {
      summary: 'Run the proxy until SIGTERM or SIGINT, then drain',
      load: async () => (await import('./commands/serve.ts')).serve,
    },
    kill: {
      summary: 'Stop decryption and encryption immediately, and wait until every instance complies',
      load: async () => (await import('./commands/kill.ts')).kill,
    },
    restore: {
      summary:
        'Lift kill switches, or request a restore if control.restore requires a delay or an approval',
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
      summary: 'Show what is blocked, and which changes each instance has applied',
      load: async () => (await import('./commands/status.ts')).status,
    },
    exposure: {
      summary:
        'Show who fetched data keys, what those keys still decrypt after a kill, and for how long',
      load: async () => (await import('./commands/exposure.ts')).exposure,
    },
    'receipt list': {
      summary: 'List revocation receipts, newest first',
      load: async () => (await import('./commands/receipt.ts')).receiptList,
    },
    'receipt show': {
      summary: 'Print the most recent signed receipt for a switch',
      load: async () => (await import('./commands/receipt.ts')).receiptShow,
    },
    'receipt verify': {
      summary: 'Verify the signature of a receipt; with --public-key, no store is needed',
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
      summary:
        'Select the admin listener that commands call; local selects the control store of this host',
      load: async () => (await import('./commands/context.ts')).contextUse,
    },
    'context list': {
      summary: 'List the saved admin listeners',
      load: async () => (await import('./commands/context.ts')).contextList,
    },
    'context remove': {
      summary: 'Remove a saved admin listener',
      load: async () => (await import('./commands/context.ts')).contextRemove,
    },
    drill: {
      summary: 'Kill and restore the test key latchkey-drill on the live fleet, and time both',
      load: async () => (await import('./commands/drill.ts')).drill,
    },
    'deadman start': {
      summary:
        "Start a dead man's switch, which closes the key store unless you renew the switch in time",
      load: async () => (await import('./commands/deadman.ts')).deadmanStart,
    },
    'deadman renew': {
      summary: "Renew a dead man's switch for another period, starting now",
      load: async () => (await import('./commands/deadman.ts')).deadmanRenew,
    },
    'deadman close': {
      summary:
        "Immediately close a key store that has a dead man's switch; it stays closed until you reopen it",
      load: async () => (await import('./commands/deadman.ts')).deadmanClose,
    },
    'deadman end': {
      summary: "End a dead man's switch, so that the key store stays open without renewals",
      load: async () => (await import('./commands/deadman.ts')).deadmanEnd,
    },
    'control accept-epoch': {
      summary: 'Accept a control store that was restored from a backup',
      load: async () => (await import('./commands/control.ts')).controlAcceptEpoch,
    },
    'store backup': {
      summary: 'Back up the control store while servers run, and verify the backup',
      load: async () => (await import('./commands/store.ts')).storeBackup,
    },
    'store verify': {
      summary: 'Verify a backup by loading it into a temporary store',
      load: async () => (await import('./commands/store.ts')).storeVerify,
    },
    'store recover': {
      summary:
        'Replace the store with a backup, show what is lost, and accept the epoch of the backup',
      load: async () => (await import('./commands/store.ts')).storeRecover,
    },
    'store copy': {
      summary: 'Copy the store to another location, such as from SQLite to PostgreSQL or back',
      load: async () => (await import('./commands/store.ts')).storeCopy,
    },
    'store rekey': {
      summary: 'Replace the master key of the store',
      load: async () => (await import('./commands/store-custody.ts')).storeRekey,
    },
    'store recovery-key': {
      summary: 'Create a recovery key for escrows, split among several people',
      load: async () => (await import('./commands/store-recovery-key.ts')).storeRecoveryKey,
    },
    'store escrow': {
      summary: "Encrypt the store's key with a recovery key, in case the master key is lost",
      load: async () => (await import('./commands/store-custody.ts')).storeEscrow,
    },
    'config check': {
      summary: 'Check a configuration file and report every error in it',
      load: async () => (await import('./commands/config.ts')).configCheck,
    },
    'config schema': {
      summary: 'Print the JSON Schema of the configuration file, for editors',
      load: async () => (await import('./commands/config.ts')).configSchema,
    },
    ...KEY_COMMANDS,
    'credentials create': {
      summary:
        'Create a credential for KMS and print it as JSON for the KMS console; the secret is shown only once',
      load: async () => (await import('./commands/credentials-create.ts')).credentialsCreate,
    },
    'credentials list': {
      summary: 'List credentials, without their secrets',
      load: async () => (await import('./commands/credentials.ts')).credentialsList,
    },
    'credentials expire': {
      summary: 'Set the time at which a credential expires',
      load: async () => (await import('./commands/credentials.ts')).credentialsExpire,
    },
    'credentials revoke': {
      summary: 'Revoke a credential immediately, and erase its secret permanently',
      load: async () => (await import('./commands/credentials.ts')).credentialsRevoke,
    },
    ...OPERATOR_COMMANDS,
    doctor: {
      summary: "Check any vendor's XKS proxy from the outside, as KMS sees it",
      load: async () => (await import('./commands/doctor.ts')).doctor,
    },
    bench: {
      summary:
        'Load-test an XKS proxy at constant rates, or find the highest rate that it sustains',
      load: async () => (await import('./commands/bench.ts')).bench,
    },
    'policy put': {
      summary: 'Put the policies from a file or folder in force, or in shadow mode',
      load: async () => (await import('./commands/policy.ts')).policyPut,
    },
    'policy delete': {
      summary: 'Delete a policy document',
      load: async () => (await import('./commands/policy.ts')).policyDelete,
    },
    'policy promote': {
      summary: 'Promote the policies in shadow mode: put them in force',
      load: async () => (await import('./commands/policy.ts')).policyPromote,
    },
    'policy discard': {
      summary: 'Discard the policies in shadow mode',
      load: async () => (await import('./commands/policy.ts')).policyDiscard,
    },
    'policy rollback': {
      summary: 'Roll back to the policies of an earlier revision',
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
      summary: 'Explain a decision: which policies determined it, and which almost applied',
      load: async () => (await import('./commands/policy-try.ts')).policyExplain,
    },
    'policy simulate': {
      summary: 'Show which recorded callers the policies would refuse',
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
      summary:
        'Register a key store with AWS KMS: check the proxy, create and connect the key store, add a KMS key, and test it',
      load: async () => (await import('./commands/register.ts')).register,
    },
    'rotate-credentials': {
      summary:
        'Rotate the credential that KMS signs with: create a new one, wait until the old one is unused, revoke it',
      load: async () => (await import('./commands/rotate-credentials.ts')).rotateCredentials,
    },
    unregister: {
      summary:
        'Disconnect a key store from KMS and delete it there; refused while the key store still has KMS keys',
      load: async () => (await import('./commands/unregister.ts')).unregister,
    },
    report: {
      summary:
        'Measure the latency that an external key adds, and write the results as an HTML page and a JSON file',
      load: async () => (await import('./commands/report.ts')).report,
    },
    completion: {
      summary: 'Print a shell completion script for bash, zsh or fish',
      load: async () => (await import('./commands/completion.ts')).createCompletion(loadAll),
    },
    manual: {
      summary: 'Print or install the man pages',
      load: async () => (await import('./commands/manual.ts')).createManual(loadAll),
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
  if (entry === undefined) throw new TypeError(`unknown command ${name}`)
  return { name, summary: entry.summary, ...(await entry.load()) }
}
