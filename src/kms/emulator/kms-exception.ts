/** KMS's own exceptions, by the names that its callers see. */
// SPDX-License-Identifier: Apache-2.0
import { LatchkeyError } from '../../core/errors.ts'

/** Names of the KMS API (version 2014-11-01). The emulator throws no others. */
export type KmsExceptionName =
  | 'ValidationException' // a parameter breaks its pattern or length
  | 'NotFoundException' // no such KMS key
  | 'DisabledException' // the KMS key is disabled in KMS
  | 'IncorrectKeyException' // the ciphertext is of another KMS key than the one named
  | 'InvalidCiphertextException' // the blob is not one, or of another backing key
  | 'InvalidKeyUsageException' // the KMS key is for something else
  | 'UnsupportedOperationException' // not for this kind of key store
  | 'LimitExceededException' // ten key stores
  | 'KMSInvalidStateException' // every failure of a cryptographic operation in an external key store
  | 'CustomKeyStoreNotFoundException'
  | 'CustomKeyStoreInvalidStateException' // not in a connection state that allows it
  | 'CustomKeyStoreNameInUseException'
  | 'CustomKeyStoreHasCMKsException' // there are KMS keys in the store
  | 'XksKeyAlreadyInUseException' // another KMS key has this external key id
  | 'XksKeyInvalidConfigurationException' // the external key is not enabled, or lacks a usage
  | 'XksKeyNotFoundException' // the proxy does not know the external key
  | 'XksProxyIncorrectAuthenticationCredentialException'
  | 'XksProxyInvalidConfigurationException' // the URI path
  | 'XksProxyInvalidResponseException'
  | 'XksProxyUriEndpointInUseException'
  | 'XksProxyUriInUseException'
  | 'XksProxyUriUnreachableException'
  | 'XksProxyVpcEndpointServiceInUseException'

export class KmsException extends LatchkeyError<KmsExceptionName> {
  override readonly name = 'KmsException'
}
