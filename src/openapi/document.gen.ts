/** Made from openapi.yaml by `npm run gen`: change that, not this file. */
// SPDX-License-Identifier: Apache-2.0

export const VERSION: string = "0.1.0"

export const SCHEMAS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  "RequestMetadata": {
    "description": "Who asked KMS for what. Beyond the types nothing here is validated: ARNs of any shape, unknown\noperations and unknown further fields are accepted, and `kmsRequestId` is opaque.\n",
    "type": "object",
    "required": [
      "awsPrincipalArn",
      "kmsOperation",
      "kmsRequestId"
    ],
    "properties": {
      "awsPrincipalArn": {
        "description": "ARN of the principal, a service principal, or \"AWS Internal\".",
        "type": "string"
      },
      "awsSourceVpc": {
        "type": "string"
      },
      "awsSourceVpce": {
        "type": "string"
      },
      "kmsKeyArn": {
        "type": "string"
      },
      "kmsOperation": {
        "type": "string"
      },
      "kmsRequestId": {
        "type": "string"
      },
      "kmsViaService": {
        "type": "string"
      }
    }
  },
  "KeyRequestMetadata": {
    "description": "The same for Encrypt and Decrypt, where the KMS key is known.",
    "allOf": [
      {
        "$ref": "#/components/schemas/RequestMetadata"
      },
      {
        "type": "object",
        "required": [
          "kmsKeyArn"
        ],
        "properties": {
          "kmsKeyArn": {
            "type": "string"
          }
        }
      }
    ]
  },
  "HealthRequestMetadata": {
    "type": "object",
    "required": [
      "kmsOperation",
      "kmsRequestId"
    ],
    "properties": {
      "kmsOperation": {
        "type": "string"
      },
      "kmsRequestId": {
        "type": "string"
      }
    }
  },
  "Base64": {
    "description": "Standard Base64 (RFC 4648, section 4) with padding and without white space.",
    "type": "string",
    "contentEncoding": "base64"
  },
  "GetKeyMetadataRequest": {
    "type": "object",
    "required": [
      "requestMetadata"
    ],
    "properties": {
      "requestMetadata": {
        "$ref": "#/components/schemas/RequestMetadata"
      }
    }
  },
  "GetKeyMetadataResponse": {
    "type": "object",
    "additionalProperties": false,
    "required": [
      "keySpec",
      "keyUsage",
      "keyStatus"
    ],
    "properties": {
      "keySpec": {
        "type": "string",
        "const": "AES_256"
      },
      "keyUsage": {
        "type": "array",
        "maxItems": 10,
        "items": {
          "type": "string",
          "enum": [
            "ENCRYPT",
            "DECRYPT"
          ]
        }
      },
      "keyStatus": {
        "type": "string",
        "enum": [
          "ENABLED",
          "DISABLED"
        ]
      }
    }
  },
  "EncryptRequest": {
    "type": "object",
    "required": [
      "requestMetadata",
      "plaintext",
      "encryptionAlgorithm"
    ],
    "properties": {
      "requestMetadata": {
        "$ref": "#/components/schemas/KeyRequestMetadata"
      },
      "plaintext": {
        "description": "Up to limits.maxPlaintextBytes of the configuration, at least 4,300 bytes.",
        "$ref": "#/components/schemas/Base64"
      },
      "encryptionAlgorithm": {
        "description": "AES_GCM; any other is answered with UnsupportedOperationException.",
        "type": "string"
      },
      "additionalAuthenticatedData": {
        "description": "Up to limits.maxAadBytes of the configuration, at least 8,192 bytes.",
        "$ref": "#/components/schemas/Base64"
      },
      "ciphertextDataIntegrityValueAlgorithm": {
        "description": "SHA_256; any other is answered with UnsupportedOperationException.",
        "type": "string"
      }
    }
  },
  "EncryptResponse": {
    "type": "object",
    "additionalProperties": false,
    "required": [
      "ciphertext",
      "ciphertextMetadata",
      "initializationVector",
      "authenticationTag"
    ],
    "properties": {
      "ciphertext": {
        "$ref": "#/components/schemas/Base64"
      },
      "ciphertextMetadata": {
        "description": "One byte of format, then the key version in four bytes, big-endian.",
        "$ref": "#/components/schemas/Base64"
      },
      "initializationVector": {
        "$ref": "#/components/schemas/Base64"
      },
      "authenticationTag": {
        "$ref": "#/components/schemas/Base64"
      },
      "ciphertextDataIntegrityValue": {
        "description": "There if, and only if, the request names an algorithm for it.",
        "$ref": "#/components/schemas/Base64"
      }
    }
  },
  "DecryptRequest": {
    "type": "object",
    "required": [
      "requestMetadata",
      "ciphertext",
      "encryptionAlgorithm",
      "initializationVector",
      "authenticationTag"
    ],
    "properties": {
      "requestMetadata": {
        "$ref": "#/components/schemas/KeyRequestMetadata"
      },
      "ciphertext": {
        "$ref": "#/components/schemas/Base64"
      },
      "ciphertextMetadata": {
        "description": "At most 20 bytes.",
        "$ref": "#/components/schemas/Base64"
      },
      "encryptionAlgorithm": {
        "type": "string"
      },
      "additionalAuthenticatedData": {
        "$ref": "#/components/schemas/Base64"
      },
      "initializationVector": {
        "description": "12 or 16 bytes.",
        "$ref": "#/components/schemas/Base64"
      },
      "authenticationTag": {
        "description": "16 bytes.",
        "$ref": "#/components/schemas/Base64"
      }
    }
  },
  "DecryptResponse": {
    "type": "object",
    "additionalProperties": false,
    "required": [
      "plaintext"
    ],
    "properties": {
      "plaintext": {
        "$ref": "#/components/schemas/Base64"
      }
    }
  },
  "GetHealthStatusRequest": {
    "type": "object",
    "required": [
      "requestMetadata"
    ],
    "properties": {
      "requestMetadata": {
        "$ref": "#/components/schemas/HealthRequestMetadata"
      }
    }
  },
  "GetHealthStatusResponse": {
    "type": "object",
    "additionalProperties": false,
    "required": [
      "xksProxyFleetSize",
      "xksProxyVendor",
      "xksProxyModel",
      "ekmVendor",
      "ekmFleetDetails"
    ],
    "properties": {
      "xksProxyFleetSize": {
        "type": "integer",
        "minimum": 1
      },
      "xksProxyVendor": {
        "type": "string"
      },
      "xksProxyModel": {
        "type": "string"
      },
      "ekmVendor": {
        "type": "string"
      },
      "ekmFleetDetails": {
        "type": "array",
        "minItems": 1,
        "maxItems": 10,
        "items": {
          "type": "object",
          "additionalProperties": false,
          "required": [
            "id",
            "model",
            "healthStatus"
          ],
          "properties": {
            "id": {
              "type": "string"
            },
            "model": {
              "type": "string"
            },
            "healthStatus": {
              "type": "string",
              "enum": [
                "ACTIVE",
                "DEGRADED",
                "UNAVAILABLE"
              ]
            }
          }
        }
      }
    }
  },
  "ErrorResponse": {
    "type": "object",
    "additionalProperties": false,
    "required": [
      "errorName",
      "errorMessage"
    ],
    "properties": {
      "errorName": {
        "type": "string",
        "enum": [
          "ValidationException",
          "InvalidStateException",
          "InvalidCiphertextException",
          "InvalidKeyUsageException",
          "AuthenticationFailedException",
          "AccessDeniedException",
          "KeyNotFoundException",
          "InvalidUriPathException",
          "ThrottlingException",
          "UnsupportedOperationException",
          "DependencyTimeoutException",
          "InternalException"
        ]
      },
      "errorMessage": {
        "description": "Printable ASCII, from a fixed list; KMS logs it and does not show it to callers.",
        "type": "string",
        "maxLength": 511,
        "pattern": "^[\\x20-\\x7e]*$"
      }
    }
  },
  "PingResponse": {
    "type": "object",
    "additionalProperties": false,
    "required": [
      "status"
    ],
    "properties": {
      "status": {
        "type": "string",
        "enum": [
          "ok",
          "draining",
          "unavailable"
        ]
      }
    }
  },
  "AdminErrorResponse": {
    "type": "object",
    "additionalProperties": false,
    "required": [
      "error"
    ],
    "properties": {
      "error": {
        "type": "object",
        "additionalProperties": false,
        "required": [
          "code",
          "message"
        ],
        "properties": {
          "code": {
            "type": "string",
            "enum": [
              "UNAUTHENTICATED",
              "FORBIDDEN",
              "CROSS_SITE",
              "WRONG_HOST",
              "CONTENT_TYPE",
              "INPUT_INVALID",
              "NOT_FOUND",
              "CONFLICT",
              "UNAVAILABLE",
              "INTERNAL"
            ]
          },
          "message": {
            "type": "string"
          },
          "hint": {
            "type": "string"
          }
        }
      }
    }
  },
  "Milliseconds": {
    "description": "Since the Unix epoch.",
    "type": "integer"
  },
  "Direction": {
    "description": "Which of Encrypt and Decrypt is stopped; `both` stops the other two operations too.",
    "type": "string",
    "enum": [
      "both",
      "decrypt",
      "encrypt"
    ]
  },
  "SwitchScope": {
    "description": "`all`; `key-store` with `keyStore`; `key` with `keyStore` and `keyId`; `match` with `criteria`, and\n`keyStore` where it is for one only.\n",
    "type": "object",
    "additionalProperties": false,
    "required": [
      "kind"
    ],
    "properties": {
      "kind": {
        "type": "string",
        "enum": [
          "all",
          "key-store",
          "key",
          "match"
        ]
      },
      "keyStore": {
        "type": "string",
        "pattern": "^[a-z0-9][a-z0-9-]{0,63}$"
      },
      "keyId": {
        "type": "string",
        "pattern": "^[A-Za-z0-9._-]{1,128}$"
      },
      "criteria": {
        "description": "All of them must fit what requestMetadata says; `*` and `?` stand for characters.",
        "type": "object",
        "additionalProperties": false,
        "minProperties": 1,
        "properties": {
          "account": {
            "type": "string",
            "pattern": "^[0-9]{12}$"
          },
          "principal": {
            "type": "string",
            "minLength": 1,
            "maxLength": 2048
          },
          "viaService": {
            "type": "string",
            "minLength": 1,
            "maxLength": 256
          },
          "vpc": {
            "type": "string",
            "minLength": 1,
            "maxLength": 256
          }
        }
      }
    }
  },
  "Reason": {
    "type": "string",
    "description": "Kept as one line of at most 500 characters; what does not fit is cut, and line breaks become spaces.",
    "minLength": 1,
    "maxLength": 10000
  },
  "Switch": {
    "type": "object",
    "required": [
      "id",
      "scope",
      "direction",
      "reason",
      "operator",
      "createdAt",
      "epoch"
    ],
    "properties": {
      "id": {
        "type": "string"
      },
      "scope": {
        "$ref": "#/components/schemas/SwitchScope"
      },
      "direction": {
        "$ref": "#/components/schemas/Direction"
      },
      "reason": {
        "type": "string"
      },
      "operator": {
        "type": "string"
      },
      "createdAt": {
        "$ref": "#/components/schemas/Milliseconds"
      },
      "epoch": {
        "type": "integer"
      },
      "until": {
        "description": "It is lifted by itself then; absent, never.",
        "$ref": "#/components/schemas/Milliseconds"
      }
    }
  },
  "AdminStopRequest": {
    "type": "object",
    "additionalProperties": false,
    "required": [
      "scope",
      "reason"
    ],
    "properties": {
      "scope": {
        "$ref": "#/components/schemas/SwitchScope"
      },
      "direction": {
        "$ref": "#/components/schemas/Direction"
      },
      "reason": {
        "$ref": "#/components/schemas/Reason"
      },
      "until": {
        "$ref": "#/components/schemas/Milliseconds"
      },
      "wait": {
        "description": "Answer when it is complete; that is the default. False, as soon as it is written.",
        "type": "boolean"
      },
      "timeoutMs": {
        "description": "How long to try to write the switch and to wait for the instances. Absent, 30 seconds for a store that\ndoes not answer, and the lease of the instances. Then the answer is `UNAVAILABLE`.\n",
        "type": "integer",
        "minimum": 1,
        "maximum": 600000
      }
    }
  },
  "InstanceOutcome": {
    "type": "object",
    "required": [
      "id",
      "group",
      "host",
      "pid",
      "worker",
      "how",
      "afterMs",
      "lastSuccessAt",
      "inFlight"
    ],
    "properties": {
      "id": {
        "type": "string"
      },
      "group": {
        "type": "string"
      },
      "host": {
        "type": "string"
      },
      "pid": {
        "type": "integer"
      },
      "worker": {
        "type": "integer"
      },
      "how": {
        "description": "`acknowledged` refuses by its own word; `lease-ended` cannot hold a lease any more, whatever state\nit is in; `left` has stopped.\n",
        "type": "string",
        "enum": [
          "acknowledged",
          "lease-ended",
          "left",
          "waiting"
        ]
      },
      "afterMs": {
        "description": "From the start of the kill.",
        "type": "number"
      },
      "lastSuccessAt": {
        "type": [
          "integer",
          "null"
        ]
      },
      "inFlight": {
        "type": "integer"
      }
    }
  },
  "AdminStopResponse": {
    "type": "object",
    "required": [
      "state",
      "isNew",
      "epoch"
    ],
    "properties": {
      "state": {
        "description": "`revoked`: no instance answers what the switch blocks. `written`: it is in force wherever the epoch\nhas been read.\n",
        "type": "string",
        "enum": [
          "revoked",
          "written"
        ]
      },
      "isNew": {
        "type": "boolean"
      },
      "epoch": {
        "type": "integer"
      },
      "switch": {
        "$ref": "#/components/schemas/Switch"
      },
      "elapsedMs": {
        "type": "number"
      },
      "instances": {
        "type": "array",
        "items": {
          "$ref": "#/components/schemas/InstanceOutcome"
        }
      },
      "receipt": {
        "$ref": "#/components/schemas/SignedReceipt"
      },
      "warning": {
        "description": "What speaks against the scope, such as a key that nobody knows. It is in force all the same.",
        "type": "string"
      }
    }
  },
  "AdminRehearsalRequest": {
    "type": "object",
    "additionalProperties": false,
    "required": [
      "scope"
    ],
    "properties": {
      "scope": {
        "$ref": "#/components/schemas/SwitchScope"
      },
      "direction": {
        "$ref": "#/components/schemas/Direction"
      },
      "since": {
        "description": "Absent, one hour before `until`.",
        "$ref": "#/components/schemas/Milliseconds"
      },
      "until": {
        "description": "Absent, now.",
        "$ref": "#/components/schemas/Milliseconds"
      }
    }
  },
  "Refused": {
    "type": "object",
    "required": [
      "name",
      "requests",
      "lastAt"
    ],
    "properties": {
      "name": {
        "description": "`-` where KMS said nothing.",
        "type": "string"
      },
      "requests": {
        "type": "integer"
      },
      "lastAt": {
        "$ref": "#/components/schemas/Milliseconds"
      }
    }
  },
  "AdminRehearsalResponse": {
    "type": "object",
    "required": [
      "scope",
      "direction",
      "period",
      "requests",
      "wouldBeRefused",
      "refusedAnyway",
      "notToldApart",
      "principals",
      "services",
      "accounts",
      "keys",
      "kmsOperations"
    ],
    "properties": {
      "scope": {
        "$ref": "#/components/schemas/SwitchScope"
      },
      "direction": {
        "$ref": "#/components/schemas/Direction"
      },
      "period": {
        "description": "What was asked for, in whole minutes, or hours where it is longer ago.",
        "type": "object",
        "required": [
          "since",
          "until",
          "spanMs"
        ],
        "properties": {
          "since": {
            "$ref": "#/components/schemas/Milliseconds"
          },
          "until": {
            "$ref": "#/components/schemas/Milliseconds"
          },
          "spanMs": {
            "type": "integer"
          }
        }
      },
      "requests": {
        "description": "All that were recorded.",
        "type": "integer"
      },
      "wouldBeRefused": {
        "description": "Those that were answered, and would have been refused.",
        "type": "integer"
      },
      "refusedAnyway": {
        "description": "Those that were refused for another reason.",
        "type": "integer"
      },
      "notToldApart": {
        "description": "Whether the switch is for these is not known.",
        "type": "integer"
      },
      "principals": {
        "type": "array",
        "items": {
          "$ref": "#/components/schemas/Refused"
        }
      },
      "services": {
        "type": "array",
        "items": {
          "$ref": "#/components/schemas/Refused"
        }
      },
      "accounts": {
        "type": "array",
        "items": {
          "$ref": "#/components/schemas/Refused"
        }
      },
      "keys": {
        "description": "As KEY_STORE/KEY_ID.",
        "type": "array",
        "items": {
          "$ref": "#/components/schemas/Refused"
        }
      },
      "kmsOperations": {
        "type": "array",
        "items": {
          "$ref": "#/components/schemas/Refused"
        }
      }
    }
  },
  "Exposure": {
    "description": "One key, by one service.",
    "type": "object",
    "required": [
      "keyStore",
      "keyId",
      "service",
      "requests",
      "firstAt",
      "lastAt",
      "by"
    ],
    "properties": {
      "keyStore": {
        "type": "string"
      },
      "keyId": {
        "type": "string"
      },
      "service": {
        "type": "object",
        "required": [
          "name",
          "viaServices",
          "goesOn",
          "howLong",
          "endedBy",
          "certainty",
          "source"
        ],
        "properties": {
          "name": {
            "type": "string"
          },
          "viaServices": {
            "type": "array",
            "items": {
              "type": "string"
            }
          },
          "goesOn": {
            "description": "What works on without the proxy.",
            "type": "string"
          },
          "howLong": {
            "type": "string"
          },
          "atMostMs": {
            "description": "After the last fetch.",
            "type": "integer"
          },
          "endedBy": {
            "type": "string"
          },
          "certainty": {
            "type": "string",
            "enum": [
              "documented",
              "archived",
              "inferred",
              "unknown"
            ]
          },
          "source": {
            "type": "string"
          },
          "afterSevenDays": {
            "type": "string"
          }
        }
      },
      "requests": {
        "type": "integer"
      },
      "firstAt": {
        "$ref": "#/components/schemas/Milliseconds"
      },
      "lastAt": {
        "$ref": "#/components/schemas/Milliseconds"
      },
      "endsAt": {
        "description": "Over by then for certain; absent where nobody says.",
        "$ref": "#/components/schemas/Milliseconds"
      },
      "by": {
        "type": "array",
        "items": {
          "type": "object",
          "required": [
            "principal",
            "account",
            "kmsOperation",
            "operation",
            "requests",
            "lastAt"
          ],
          "properties": {
            "principal": {
              "type": "string"
            },
            "account": {
              "type": "string"
            },
            "kmsOperation": {
              "type": "string"
            },
            "operation": {
              "type": "string"
            },
            "requests": {
              "type": "integer"
            },
            "lastAt": {
              "$ref": "#/components/schemas/Milliseconds"
            }
          }
        }
      }
    }
  },
  "AdminExposure": {
    "type": "object",
    "required": [
      "scope",
      "since",
      "until",
      "exposures",
      "longKills"
    ],
    "properties": {
      "scope": {
        "$ref": "#/components/schemas/SwitchScope"
      },
      "since": {
        "$ref": "#/components/schemas/Milliseconds"
      },
      "until": {
        "$ref": "#/components/schemas/Milliseconds"
      },
      "exposures": {
        "type": "array",
        "items": {
          "$ref": "#/components/schemas/Exposure"
        }
      },
      "longKills": {
        "description": "Switches that near the seven days after which DynamoDB and Aurora do lasting things.",
        "type": "array",
        "items": {
          "type": "object",
          "required": [
            "id",
            "scope",
            "createdAt",
            "harmAt"
          ],
          "properties": {
            "id": {
              "type": "string"
            },
            "scope": {
              "type": "string"
            },
            "createdAt": {
              "$ref": "#/components/schemas/Milliseconds"
            },
            "harmAt": {
              "$ref": "#/components/schemas/Milliseconds"
            }
          }
        }
      }
    }
  },
  "AdminRestoreRequest": {
    "description": "One switch by its id, or all of a scope.",
    "type": "object",
    "additionalProperties": false,
    "required": [
      "reason"
    ],
    "properties": {
      "switch": {
        "type": "string",
        "pattern": "^[0-9a-f]{1,32}$"
      },
      "scope": {
        "$ref": "#/components/schemas/SwitchScope"
      },
      "direction": {
        "$ref": "#/components/schemas/Direction"
      },
      "reason": {
        "$ref": "#/components/schemas/Reason"
      }
    }
  },
  "AdminRestoreResponse": {
    "type": "object",
    "required": [
      "state",
      "switches"
    ],
    "properties": {
      "state": {
        "type": "string",
        "enum": [
          "restored",
          "requested"
        ]
      },
      "epoch": {
        "type": "integer"
      },
      "switches": {
        "type": "array",
        "items": {
          "$ref": "#/components/schemas/Switch"
        }
      },
      "request": {
        "type": "object",
        "additionalProperties": true
      },
      "needsApproval": {
        "type": "boolean"
      }
    }
  },
  "AdminReason": {
    "type": "object",
    "additionalProperties": false,
    "required": [
      "reason"
    ],
    "properties": {
      "reason": {
        "$ref": "#/components/schemas/Reason"
      }
    }
  },
  "AdminDone": {
    "type": "object",
    "required": [
      "done"
    ],
    "properties": {
      "done": {
        "type": "boolean"
      }
    }
  },
  "AdminDeadmanRequest": {
    "type": "object",
    "additionalProperties": false,
    "required": [
      "action",
      "reason"
    ],
    "properties": {
      "action": {
        "type": "string",
        "enum": [
          "renew",
          "close"
        ]
      },
      "reason": {
        "$ref": "#/components/schemas/Reason"
      }
    }
  },
  "DeadManSwitch": {
    "type": "object",
    "required": [
      "keyStore",
      "ttlMs",
      "renewedAt",
      "openUntil"
    ],
    "properties": {
      "keyStore": {
        "type": "string"
      },
      "ttlMs": {
        "type": "integer"
      },
      "renewedAt": {
        "$ref": "#/components/schemas/Milliseconds"
      },
      "openUntil": {
        "$ref": "#/components/schemas/Milliseconds"
      },
      "reason": {
        "type": "string"
      },
      "operator": {
        "type": "string"
      }
    }
  },
  "AdminDeadman": {
    "description": "`requested`: reopening a key store needs what restoring needs, and `control.restore` asks for more than one\nperson's word. The request is approved as a restoration is.\n",
    "type": "object",
    "required": [
      "state"
    ],
    "properties": {
      "state": {
        "type": "string",
        "enum": [
          "written",
          "requested"
        ]
      },
      "deadManSwitch": {
        "$ref": "#/components/schemas/DeadManSwitch"
      },
      "request": {
        "type": "object",
        "additionalProperties": true
      },
      "needsApproval": {
        "type": "boolean"
      }
    }
  },
  "AdminStatus": {
    "type": "object",
    "required": [
      "storeId",
      "epoch",
      "switches",
      "instances",
      "events"
    ],
    "properties": {
      "storeId": {
        "type": "string"
      },
      "epoch": {
        "type": "integer"
      },
      "switches": {
        "type": "array",
        "items": {
          "$ref": "#/components/schemas/Switch"
        }
      },
      "instances": {
        "type": "array",
        "items": {
          "type": "object",
          "additionalProperties": true
        }
      },
      "events": {
        "type": "array",
        "items": {
          "type": "object",
          "additionalProperties": true
        }
      }
    }
  },
  "SignedReceipt": {
    "description": "An Ed25519 signature (RFC 8032) over `latchkey receipt v1`, a line feed, and the statement in the\ncanonical form of RFC 8785.\n",
    "type": "object",
    "additionalProperties": false,
    "required": [
      "statement",
      "publicKey",
      "signature"
    ],
    "properties": {
      "statement": {
        "type": "object",
        "additionalProperties": true
      },
      "publicKey": {
        "description": "32 bytes.",
        "$ref": "#/components/schemas/Base64"
      },
      "signature": {
        "description": "64 bytes.",
        "$ref": "#/components/schemas/Base64"
      }
    }
  },
  "AdminReceipts": {
    "type": "object",
    "required": [
      "receipts"
    ],
    "properties": {
      "receipts": {
        "type": "array",
        "items": {
          "$ref": "#/components/schemas/SignedReceipt"
        }
      }
    }
  },
  "AdminDrill": {
    "type": "object",
    "required": [
      "keyStore",
      "keyId",
      "revokedAfterMs",
      "restoredAfterMs",
      "instances"
    ],
    "properties": {
      "keyStore": {
        "type": "string"
      },
      "keyId": {
        "type": "string",
        "const": "latchkey-drill"
      },
      "revokedAfterMs": {
        "type": "number"
      },
      "restoredAfterMs": {
        "type": "number"
      },
      "instances": {
        "type": "array",
        "items": {
          "$ref": "#/components/schemas/InstanceOutcome"
        }
      }
    }
  }
}
