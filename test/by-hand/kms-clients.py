"""Uses KMS through a client that applications use: kms-clients.py CLIENT KEY_ARN.

Each line on standard input is a command, `store` or `read`. For each, it prints `ok`, or the names of the exceptions.
"""
# SPDX-License-Identifier: Apache-2.0
import base64
import json
import subprocess
import sys

import boto3

SECRET = b"a document of the application"
STDIN = "fileb:///dev/stdin"


class Boto3:
    """Calls KMS itself, as applications with their own envelope encryption do."""

    def __init__(self, key):
        self.key, self.kms = key, boto3.client("kms")

    def store(self):
        answer = self.kms.generate_data_key(KeyId=self.key, KeySpec="AES_256")
        self.data_key, self.encrypted = answer["Plaintext"], answer["CiphertextBlob"]

    def read(self):
        answer = self.kms.decrypt(CiphertextBlob=self.encrypted)
        assert answer["Plaintext"] == self.data_key


class AwsCli:
    """Starts the AWS CLI of the same environment for each call."""

    def __init__(self, key):
        self.key, self.program = key, sys.executable.rsplit("/", 1)[0] + "/aws"

    def call(self, content, *words):
        command = [self.program, "kms", *words, "--output", "json"]
        done = subprocess.run(command, input=content, capture_output=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.decode().strip())
        return json.loads(done.stdout)

    def store(self):
        words = ["encrypt", "--key-id", self.key, "--plaintext", STDIN]
        self.encrypted = base64.b64decode(self.call(SECRET, *words)["CiphertextBlob"])

    def read(self):
        answer = self.call(self.encrypted, "decrypt", "--ciphertext-blob", STDIN)
        assert base64.b64decode(answer["Plaintext"]) == SECRET


class EncryptionSdk:
    """AWS Encryption SDK for Python, with a master key provider and without a cache."""

    def __init__(self, key):
        import aws_encryption_sdk as sdk

        self.client = sdk.EncryptionSDKClient()
        self.source = {"key_provider": sdk.StrictAwsKmsMasterKeyProvider(key_ids=[key])}

    def store(self):
        self.encrypted, _ = self.client.encrypt(source=SECRET, **self.source)

    def read(self):
        plaintext, _ = self.client.decrypt(source=self.encrypted, **self.source)
        assert plaintext == SECRET


class EncryptionSdkWithCache(EncryptionSdk):
    """The same with its cache of data keys, which a kill does not reach."""

    def __init__(self, key):
        super().__init__(key)
        from aws_encryption_sdk.caches.local import LocalCryptoMaterialsCache
        from aws_encryption_sdk.materials_managers.caching import CachingCryptoMaterialsManager

        provider = self.source["key_provider"]
        cache = LocalCryptoMaterialsCache(100)
        manager = CachingCryptoMaterialsManager(
            cache=cache, max_age=3600.0, master_key_provider=provider
        )
        self.source = {"materials_manager": manager}


class S3EncryptionClient:
    """Amazon S3 Encryption Client for Python, with an S3 at AWS_ENDPOINT_URL_S3."""

    def __init__(self, key):
        from s3_encryption import S3EncryptionClient as Client
        from s3_encryption import S3EncryptionClientConfig as Config
        from s3_encryption.materials.kms_keyring import KmsKeyring

        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="documents")
        self.client = Client(s3, Config(keyring=KmsKeyring(boto3.client("kms"), key)))

    def store(self):
        self.client.put_object(Bucket="documents", Key="contract", Body=SECRET)

    def read(self):
        answer = self.client.get_object(Bucket="documents", Key="contract")
        assert answer["Body"].read() == SECRET


CLIENTS = {
    "boto3": Boto3,
    "aws-cli": AwsCli,
    "encryption-sdk": EncryptionSdk,
    "encryption-sdk-cached": EncryptionSdkWithCache,
    "s3-encryption-client": S3EncryptionClient,
}


def describe(error):
    """Returns the names of an exception and its causes, and the code of KMS if one has it."""
    names = []
    while error is not None:
        code = getattr(error, "response", {}).get("Error", {}).get("Code")
        names.append(type(error).__name__ + ("" if code is None else f" {code}"))
        if isinstance(error, RuntimeError):
            names.append(str(error).split("\n")[-1])
        error = error.__cause__ or error.__context__
    return " < ".join(names)


def main():
    name, key = sys.argv[1:]
    client = CLIENTS[name](key)
    for line in sys.stdin:
        try:
            getattr(client, line.strip())()
            print("ok", flush=True)
        except Exception as error:  # Each client raises its own exception types.
            print(describe(error), flush=True)


main()
