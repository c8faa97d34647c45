/**
 * The published schema of policies, which describes a request to Cedar. docs/policy.cedarschema is
 * generated from it.
 */
// SPDX-License-Identifier: Apache-2.0

/**
 * Version of the schema, which increases when a policy written for an earlier version might no
 * longer validate. Adding optional attributes, entity types or actions does not increase it.
 */
export const SCHEMA_VERSION = 1

export const SCHEMA = `// Latchkey: schema of policies, version ${String(SCHEMA_VERSION)}.
// The fields of a request that KMS sends (requestMetadata, XKS 1.0.3) and those that the proxy adds, as Cedar types.
namespace XKS {
  // An AWS account, by its twelve digits.
  entity Account;
  // An IAM role, by its ARN. Its sessions are members of it. The ARN of a session lacks the path of its role, so a role with
  // a path is in arn:aws:iam::ACCOUNT:role/path/NAME and in arn:aws:iam::ACCOUNT:role/NAME, and a session in the latter only.
  entity Role;
  // An AWS service that calls for itself, by the name that KMS sends: "ec2.amazonaws.com", or "AWS Internal".
  entity AwsService;
  // awsPrincipalArn, by the ARN as KMS sent it. Tags are the fields of requestMetadata that XKS 1.0.3 does not define.
  entity Principal in [Account, Role, AwsService] = {
    "arn": String,
    "kind": String, // user, role, assumed-role, federated-user, root, service, unknown
    "name": String, // of the user, role or service
    "sessionName"?: String, // assumed-role only
    "path"?: String, // user and role only: "/" or "/a/b/"
  } tags String;

  // A key store of the configuration, by its name.
  entity KeyStore;
  // A group that the document "labels" puts keys into, by its name.
  entity KeyGroup;
  // An external key, by KEY_STORE/KEY_ID. Tags come from the document "labels".
  entity Key in [KeyStore, KeyGroup] = {
    "id": String, // externalKeyId
    "keyStore": String,
    "version": Long, // the one that encrypts
    "createdAt"?: datetime, // software keys only
  } tags String;

  type Context = {
    // Computed from the other fields, not sent by KMS: customer-direct, customer-by-service, service-itself,
    // foreign-account, key-administration, unknown.
    "accessClass": String,
    "kmsOperation": String, // as sent, even if this release does not know it
    // kmsKeyArn; absent when KMS creates a KMS key.
    "kmsKey"?: { "arn": String, "partition": String, "region": String, "account": String, "keyId": String },
    // kmsViaService: name is its first label, in lower case.
    "viaService"?: { "name": String, "region"?: String },
    "sourceVpc"?: String, // awsSourceVpc
    "sourceVpce"?: String, // awsSourceVpce
    "sameAccount": Bool, // the principal and the KMS key have the same account; false if either account is unknown
    // The credential that signed the request. Its age counts from its creation in this store.
    "credential": { "id": String, "age"?: duration },
    // The connection. clientName is the client certificate's common name, if mTLS terminates here.
    "tls": { "version"?: String, "clientName"?: String, "remote"?: ipaddr },
    "now": datetime,
    "aad": { "present": Bool, "bytes": Long },
    "plaintextBytes": Long,
  };

  action Use;
  action Encrypt, Decrypt in [Use] appliesTo { principal: [Principal], resource: [Key], context: Context };
  // GetKeyMetadata: KMS calls it when it creates or describes a KMS key.
  action Describe appliesTo { principal: [Principal], resource: [Key], context: Context };
}
`
