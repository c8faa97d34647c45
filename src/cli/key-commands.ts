/** Lists the commands for keys and tokens; commands.ts includes this list. */
// SPDX-License-Identifier: Apache-2.0
import type { Entry } from './observation-commands.ts'

export const KEY_COMMANDS: Readonly<Record<string, Entry>> = {
  'keys create': {
    summary: 'Create an AES-256 key in the key store',
    load: async () => (await import('./commands/keys-create.ts')).keysCreate,
  },
  'keys import': {
    summary: 'Import existing AES-256 key material',
    load: async () => (await import('./commands/keys-create.ts')).keysImport,
  },
  'keys list': {
    summary: 'List the keys of a key store',
    load: async () => (await import('./commands/keys.ts')).keysList,
  },
  'keys rotate': {
    summary: 'Create a new key version; older versions still decrypt',
    load: async () => (await import('./commands/keys.ts')).keysRotate,
  },
  'keys disable': {
    summary:
      'Disable a key, so that Encrypt and Decrypt requests for it fail with InvalidStateException',
    load: async () => (await import('./commands/keys.ts')).keysDisable,
  },
  'keys enable': {
    summary: 'Enable a disabled key',
    load: async () => (await import('./commands/keys.ts')).keysEnable,
  },
  'keys dates': {
    summary: 'Show or change the activation and deactivation dates of a key',
    load: async () => (await import('./commands/keys-dates.ts')).keysDates,
  },
  'keys destroy-version': {
    summary: 'Permanently destroy the key material of an old version',
    load: async () => (await import('./commands/keys.ts')).keysDestroyVersion,
  },
  'keys trust': {
    summary: 'Accept the key that a token now holds in place of the one recorded in the store',
    load: async () => (await import('./commands/keys.ts')).keysTrust,
  },
  'pkcs11 probe': {
    summary:
      'Show the slots, tokens, mechanisms and keys of a PKCS#11 module, and which IV modes work',
    load: async () => (await import('./commands/pkcs11-probe.ts')).pkcs11Probe,
  },
  'pkcs11 certify': {
    summary:
      'Test a token with the contract suite, faults and load, and print a report for the maintainers',
    load: async () => (await import('./commands/pkcs11-certify.ts')).pkcs11Certify,
  },
  'keys versions': {
    summary:
      'Show when and by whom each version of a key was used, and the time up to which the record is complete',
    load: async () => (await import('./commands/keys-retire.ts')).keysVersions,
  },
  'keys retirements': {
    summary: 'List key versions that are being retired or that a retirement has destroyed',
    load: async () => (await import('./commands/keys-retire.ts')).keysRetirements,
  },
  'keys retire': {
    summary: 'Request the destruction of an old version that has decrypted nothing for a long time',
    load: async () => (await import('./commands/keys-retire.ts')).keysRetire,
  },
  'keys approve-retirement': {
    summary: 'Approve a retirement as a second person; the version then refuses Decrypt',
    load: async () => (await import('./commands/keys-retire.ts')).keysApproveRetirement,
  },
  'keys cancel-retirement': {
    summary: 'Cancel a retirement; the version decrypts again',
    load: async () => (await import('./commands/keys-retire.ts')).keysCancelRetirement,
  },
  'keys shred': {
    summary: 'Destroy a retired version after its waiting period, and print the signed certificate',
    load: async () => (await import('./commands/keys-shred.ts')).keysShred,
  },
}
