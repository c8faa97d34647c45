/**
 * The published schema of policies, which describes a request to Cedar. docs/policy.cedarschema is
 * generated from it.
 */
// SPDX-License-Identifier: Apache-2.0

/**
 * Raised when a policy of an earlier version may not validate any more. Optional attributes, entity types and actions are
 * added without raising it.
 */
export const SCHEMA_VERSION = 1

export const SCHEMA = `// Latchkey: schema of policies, version ${String(SCHEMA_VERSION)}.
// What KMS says of a request (requestMetadata, XKS 1.0.3) and what the proxy knows, as Cedar types.
namespace XKS {
  // An AWS account, by its twelve digits.
  entity Account;
  // An IAM role, by its ARN. A session of a role is in it. STS does not say the path of a role, so a role with a path is
  // in arn:aws:iam::ACCOUNT:role/path/NAME and in arn:aws:iam::ACCOUNT:role/NAME, and a session in the latter only.
  entity Role;
  // An AWS service that calls for itself, by the name that KMS gives: "ec2.amazonaws.com", or "AWS Internal".
  entity AwsService;
  // awsPrincipalArn, by the ARN as KMS sent it. Tags are the fields of requestMetadata that XKS 1.0.3 does not know.
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
  // An external key, by KEY_STORE/KEY_ID. Tags are those of the document "labels".
  entity Key in [KeyStore, KeyGroup] = {
    "id": String, // externalKeyId
    "keyStore": String,
    "version": Long, // the one that encrypts
    "createdAt"?: datetime, // software keys only
  } tags String;

  type Context = {
    // Computed from the other fields, not said by KMS: customer-direct, customer-by-service, service-itself,
    // foreign-account, key-administration, unknown.
    "accessClass": String,
    "kmsOperation": String, // as sent, also one that is not known here
    // kmsKeyArn; absent when KMS makes a new KMS key.
    "kmsKey"?: { "arn": String, "partition": String, "region": String, "account": String, "keyId": String },
    // kmsViaService: name is its first label, in lower case.
    "viaService"?: { "name": String, "region"?: String },
    "sourceVpc"?: String, // awsSourceVpc
    "sourceVpce"?: String, // awsSourceVpce
    "sameAccount": Bool, // the account of the principal is that of the KMS key; false where one is not known
    // The credential that the request was signed with; age is since it was made here.
    "credential": { "id": String, "age"?: duration },
    // The connection. clientName is the common name of the client certificate, where mTLS ends here.
    "tls": { "version"?: String, "clientName"?: String, "remote"?: ipaddr },
    "now": datetime,
    "aad": { "present": Bool, "bytes": Long },
    "plaintextBytes": Long,
  };

  action Use;
  action Encrypt, Decrypt in [Use] appliesTo { principal: [Principal], resource: [Key], context: Context };
  // GetKeyMetadata: KMS asks when a KMS key is made or described.
  action Describe appliesTo { principal: [Principal], resource: [Key], context: Context };
}
`
