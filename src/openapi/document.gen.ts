/** Generated from openapi.yaml by `npm run gen`. Do not edit. */
// SPDX-License-Identifier: Apache-2.0

export const VERSION: string = "0.1.0"

export const SCHEMAS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  "NextCursor": {
    "description": "The `cursor` of the next page. An opaque text; absent on the last page.",
    "type": "string"
  },
  "RequestMetadata": {
    "description": "The caller of KMS and the operation that it called. Only the types are validated: ARNs of any\nform, unknown operations and additional fields are accepted, and `kmsRequestId` is opaque.\n",
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
    "description": "Request metadata of Encrypt and Decrypt, which also names the KMS key.",
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
        "description": "At most limits.maxPlaintextBytes from the configuration, which is 4,300 bytes or more.",
        "$ref": "#/components/schemas/Base64"
      },
      "encryptionAlgorithm": {
        "description": "Must be AES_GCM. Any other value results in UnsupportedOperationException.",
        "type": "string"
      },
      "additionalAuthenticatedData": {
        "description": "At most limits.maxAadBytes from the configuration, which is 8,192 bytes or more.",
        "$ref": "#/components/schemas/Base64"
      },
      "ciphertextDataIntegrityValueAlgorithm": {
        "description": "Must be SHA_256. Any other value results in UnsupportedOperationException.",
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
        "description": "A format byte, followed by the key version as four bytes in big-endian order.",
        "$ref": "#/components/schemas/Base64"
      },
      "initializationVector": {
        "$ref": "#/components/schemas/Base64"
      },
      "authenticationTag": {
        "$ref": "#/components/schemas/Base64"
      },
      "ciphertextDataIntegrityValue": {
        "description": "Present if and only if the request specifies `ciphertextDataIntegrityValueAlgorithm`.",
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
        "description": "A message from a fixed list, in printable ASCII. KMS logs the message, but does not show it to callers.",
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
          "reason": {
            "description": "The specific error code, the same as on the command line, such as `NOTHING_KILLED`.",
            "type": "string"
          },
          "message": {
            "type": "string"
          },
          "hint": {
            "type": "string"
          },
          "faults": {
            "description": "All errors in the policies, if they are invalid.",
            "type": "array",
            "items": {
              "type": "object",
              "required": [
                "path",
                "message"
              ],
              "properties": {
                "path": {
                  "type": "string"
                },
                "message": {
                  "type": "string"
                }
              }
            }
          }
        }
      }
    }
  },
  "Milliseconds": {
    "description": "Milliseconds since the Unix epoch.",
    "type": "integer"
  },
  "Date": {
    "description": "Milliseconds since the Unix epoch, in the years 1970 to 9999.",
    "type": "integer",
    "minimum": 0,
    "maximum": 253402300799999
  },
  "Direction": {
    "description": "Whether to stop Encrypt, Decrypt or both. `both` also stops the other two operations.",
    "type": "string",
    "enum": [
      "both",
      "decrypt",
      "encrypt"
    ]
  },
  "SwitchScope": {
    "description": "`all`; `key-store` with `keyStore`; `key` with `keyStore` and `keyId`; or `match` with `criteria` and\noptionally `keyStore`.\n",
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
        "description": "Conditions on requestMetadata, which must all match; `*` and `?` are wildcards.",
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
    "description": "Stored as one line of at most 500 characters; longer text is truncated, and line breaks become spaces.",
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
        "description": "Time at which the switch is lifted automatically; absent if it never is.",
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
        "$ref": "#/components/schemas/Date"
      },
      "wait": {
        "description": "If true (the default), the response is sent once every instance refuses; if false, once the switch is committed.",
        "type": "boolean"
      },
      "timeoutMs": {
        "description": "How long to retry writing the switch and to wait for the instances; after that, the response is `UNAVAILABLE`.\nDefault: 30 seconds for a store that does not respond, plus the lease of the instances.\n",
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
        "description": "`acknowledged`: the instance has confirmed that it refuses. `lease-ended`: it can no longer hold\na lease, whatever its state. `left`: it has stopped. `waiting`: none of these yet.\n",
        "type": "string",
        "enum": [
          "acknowledged",
          "lease-ended",
          "left",
          "waiting"
        ]
      },
      "afterMs": {
        "description": "Milliseconds from the start of the kill.",
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
        "description": "`revoked`: no instance serves requests that the switch blocks. `written`: the switch is in force on every\ninstance that has read its epoch.\n",
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
        "description": "A warning about the scope, such as an unknown key. The switch is in force regardless.",
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
        "description": "Default: one hour before `until`.",
        "$ref": "#/components/schemas/Milliseconds"
      },
      "until": {
        "description": "Default: now.",
        "$ref": "#/components/schemas/Milliseconds"
      },
      "probes": {
        "description": "If true, includes requests from Latchkey's own tools (default: false).",
        "type": "boolean"
      }
    }
  },
  "ProbesLeftOut": {
    "description": "Number of requests in the period that doctor, bench, report, simulate and quickstart sent. The report excludes them.",
    "type": "integer"
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
        "description": "`-` if KMS sent no value.",
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
      "probesLeftOut",
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
        "description": "The requested period, widened to whole minutes, or to whole hours if counts per minute are no longer kept.",
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
        "description": "Number of recorded requests.",
        "type": "integer"
      },
      "wouldBeRefused": {
        "description": "Number of requests that succeeded and would have been refused.",
        "type": "integer"
      },
      "refusedAnyway": {
        "description": "Number of requests that were refused for another reason.",
        "type": "integer"
      },
      "notToldApart": {
        "description": "Number of requests from unnamed callers, which the switch may cover.",
        "type": "integer"
      },
      "probesLeftOut": {
        "$ref": "#/components/schemas/ProbesLeftOut"
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
        "description": "Refusals by key. Each name has the form KEY_STORE/KEY_ID.",
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
    "description": "One key as used by one service.",
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
            "description": "What the service can still do without the proxy.",
            "type": "string"
          },
          "howLong": {
            "type": "string"
          },
          "atMostMs": {
            "description": "Maximum duration of the exposure in milliseconds after the last fetch.",
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
        "description": "Time by which the exposure has certainly ended; absent if unknown.",
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
      "probesLeftOut",
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
      "probesLeftOut": {
        "$ref": "#/components/schemas/ProbesLeftOut"
      },
      "longKills": {
        "description": "Switches that are approaching seven days, after which DynamoDB and Aurora take irreversible action.",
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
    "description": "One switch by its id, or all switches of a scope.",
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
          "start",
          "renew",
          "close",
          "end"
        ]
      },
      "reason": {
        "$ref": "#/components/schemas/Reason"
      },
      "ttlMs": {
        "description": "How long the key store stays open without a renewal. `start` requires it; `renew` may change it.",
        "type": "integer",
        "minimum": 1,
        "maximum": 86400000000
      },
      "mayRestore": {
        "description": "If false, every change that restores access is refused, even for the role `admin`.",
        "type": "boolean"
      }
    }
  },
  "AdminDrillRequest": {
    "type": "object",
    "additionalProperties": false,
    "properties": {
      "keyStore": {
        "description": "Default: the first key store in the configuration.",
        "type": "string",
        "pattern": "^[a-z0-9][a-z0-9-]{0,63}$"
      }
    }
  },
  "AdminAbout": {
    "type": "object",
    "required": [
      "version",
      "name",
      "role",
      "permissions",
      "everywhere",
      "keyStores",
      "stores"
    ],
    "properties": {
      "version": {
        "type": "string"
      },
      "name": {
        "description": "Name of the caller, which is recorded as the operator.",
        "type": "string"
      },
      "role": {
        "description": "Roles of the caller, each with the key stores that it is limited to.",
        "type": "string"
      },
      "permissions": {
        "description": "What the caller may do for at least one key store.",
        "type": "array",
        "items": {
          "type": "string"
        }
      },
      "everywhere": {
        "description": "What the caller may do for all key stores.",
        "type": "array",
        "items": {
          "type": "string"
        }
      },
      "keyStores": {
        "type": "array",
        "items": {
          "type": "string"
        }
      },
      "stores": {
        "description": "The key stores in `keyStores`, each with what the caller may do there, its URI prefix, and the entry of `backends` that holds its keys.",
        "type": "array",
        "items": {
          "type": "object",
          "required": [
            "name",
            "prefix",
            "permissions"
          ],
          "properties": {
            "name": {
              "type": "string"
            },
            "prefix": {
              "type": "string"
            },
            "backend": {
              "type": "string"
            },
            "permissions": {
              "type": "array",
              "items": {
                "type": "string"
              }
            }
          }
        }
      }
    }
  },
  "AdminLoginStart": {
    "type": "object",
    "required": [
      "authorizationEndpoint",
      "clientId",
      "scope"
    ],
    "properties": {
      "authorizationEndpoint": {
        "type": "string"
      },
      "clientId": {
        "type": "string"
      },
      "scope": {
        "type": "string"
      }
    }
  },
  "AdminLoginRequest": {
    "description": "Requires either `code`, `verifier` and `redirectUri`, or `refreshToken`.",
    "type": "object",
    "additionalProperties": false,
    "properties": {
      "code": {
        "type": "string",
        "minLength": 1,
        "maxLength": 4096
      },
      "verifier": {
        "description": "RFC 7636, section 4.1.",
        "type": "string",
        "pattern": "^[A-Za-z0-9._~-]{43,128}$"
      },
      "redirectUri": {
        "type": "string",
        "maxLength": 2048
      },
      "refreshToken": {
        "type": "string",
        "minLength": 1,
        "maxLength": 8192
      }
    }
  },
  "AdminLoginSession": {
    "type": "object",
    "required": [
      "token"
    ],
    "properties": {
      "token": {
        "description": "The ID token.",
        "type": "string"
      },
      "refreshToken": {
        "type": "string"
      }
    }
  },
  "AdminAuditLogs": {
    "type": "object",
    "required": [
      "logs"
    ],
    "properties": {
      "logs": {
        "type": "array",
        "items": {
          "type": "string"
        }
      }
    }
  },
  "AdminAuditPage": {
    "type": "object",
    "required": [
      "origin",
      "size",
      "entries"
    ],
    "properties": {
      "origin": {
        "description": "Full name of the log.",
        "type": "string"
      },
      "size": {
        "description": "Number of entries that the checkpoint covers.",
        "type": "integer"
      },
      "entries": {
        "type": "array",
        "items": {
          "type": "object",
          "required": [
            "index",
            "entry"
          ],
          "properties": {
            "index": {
              "type": "integer"
            },
            "entry": {
              "description": "See docs/audit.md for the fields of an entry.",
              "type": "object",
              "required": [
                "kind"
              ],
              "properties": {
                "kind": {
                  "type": "string",
                  "const": "request"
                }
              },
              "additionalProperties": true
            }
          }
        }
      },
      "next": {
        "description": "Where to continue: the next `from` or, newest first, the next `before`. Absent at the end.",
        "type": "integer"
      }
    }
  },
  "AdminAuditProof": {
    "type": "object",
    "required": [
      "proof"
    ],
    "properties": {
      "proof": {
        "description": "A proof in the format that c2sp.org/tlog-proof defines.",
        "type": "string"
      }
    }
  },
  "AdminReceiptKey": {
    "type": "object",
    "required": [
      "algorithm",
      "publicKey"
    ],
    "properties": {
      "algorithm": {
        "type": "string",
        "const": "Ed25519"
      },
      "publicKey": {
        "description": "32 bytes.",
        "$ref": "#/components/schemas/Base64"
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
    "description": "`requested`: reopening a key store requires the same permission as a restore, and `control.restore` requires a\nsecond person or a delay. The request is approved like a restore request.\n",
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
  "AdminSwitches": {
    "type": "object",
    "required": [
      "switches"
    ],
    "properties": {
      "nextCursor": {
        "$ref": "#/components/schemas/NextCursor"
      },
      "switches": {
        "type": "array",
        "items": {
          "$ref": "#/components/schemas/Switch"
        }
      }
    }
  },
  "AdminDeadmanSwitches": {
    "type": "object",
    "required": [
      "deadManSwitches"
    ],
    "properties": {
      "nextCursor": {
        "$ref": "#/components/schemas/NextCursor"
      },
      "deadManSwitches": {
        "type": "array",
        "items": {
          "type": "object",
          "additionalProperties": true
        }
      }
    }
  },
  "AdminRestorations": {
    "type": "object",
    "required": [
      "requests"
    ],
    "properties": {
      "nextCursor": {
        "$ref": "#/components/schemas/NextCursor"
      },
      "requests": {
        "type": "array",
        "items": {
          "type": "object",
          "additionalProperties": true
        }
      }
    }
  },
  "AdminStatus": {
    "type": "object",
    "required": [
      "storeId",
      "epoch",
      "counts",
      "switches",
      "deadManSwitches",
      "requests",
      "longKills",
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
      "counts": {
        "description": "Numbers of items, including those that this response does not contain.",
        "type": "object",
        "required": [
          "switches",
          "deadManSwitches",
          "requests",
          "longKills"
        ],
        "properties": {
          "switches": {
            "description": "Switches in force, in total and by the kind of their scope.",
            "type": "object",
            "required": [
              "total",
              "all",
              "key-store",
              "match",
              "key"
            ],
            "properties": {
              "total": {
                "type": "integer"
              },
              "all": {
                "type": "integer"
              },
              "key-store": {
                "type": "integer"
              },
              "match": {
                "type": "integer"
              },
              "key": {
                "type": "integer"
              }
            }
          },
          "deadManSwitches": {
            "type": "integer"
          },
          "requests": {
            "type": "integer"
          },
          "longKills": {
            "type": "integer"
          }
        }
      },
      "switches": {
        "description": "The switches that stop the most; of those that stop the same, the most recent ones.",
        "type": "array",
        "items": {
          "$ref": "#/components/schemas/Switch"
        }
      },
      "latestSwitch": {
        "description": "The most recent switch; absent if there is none.",
        "$ref": "#/components/schemas/Switch"
      },
      "stopsEverything": {
        "description": "What the switches with the scope `all` stop together, in every key store; absent if there is none.",
        "type": "string",
        "enum": [
          "both",
          "decrypt",
          "encrypt"
        ]
      },
      "deadManSwitches": {
        "description": "Dead man's switches, in the order in which they close their key stores.",
        "type": "array",
        "items": {
          "type": "object",
          "additionalProperties": true
        }
      },
      "requests": {
        "description": "Pending restore requests, in the order in which they expire.",
        "type": "array",
        "items": {
          "type": "object",
          "additionalProperties": true
        }
      },
      "longKills": {
        "description": "The oldest of the switches that are approaching seven days.",
        "type": "array",
        "items": {
          "type": "object",
          "additionalProperties": true
        }
      },
      "storeWarnings": {
        "description": "Problems with the server that holds the store.",
        "type": "array",
        "items": {
          "type": "string"
        }
      },
      "lastBackup": {
        "description": "The last backup made with `latchkey store backup`; absent if there is none.",
        "type": "object",
        "required": [
          "createdAt",
          "epoch"
        ],
        "properties": {
          "createdAt": {
            "$ref": "#/components/schemas/Milliseconds"
          },
          "epoch": {
            "type": "integer"
          }
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
      },
      "proof": {
        "description": "A proof that the control log contains the receipt (c2sp.org/tlog-proof). Verifying it requires no other file. Absent from lists.\n",
        "type": "string"
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
  "AdminAudit": {
    "type": "object",
    "required": [
      "mode",
      "logs",
      "entries"
    ],
    "properties": {
      "mode": {
        "type": "string",
        "enum": [
          "off",
          "buffered",
          "strict"
        ]
      },
      "logs": {
        "type": "array",
        "items": {
          "type": "object",
          "required": [
            "name"
          ],
          "properties": {
            "name": {
              "type": "string"
            },
            "host": {
              "type": "string"
            },
            "size": {
              "description": "Number of entries that the checkpoint covers.",
              "type": "integer"
            },
            "fault": {
              "description": "Why the log cannot be opened.",
              "type": "string"
            }
          }
        }
      },
      "entries": {
        "description": "See docs/audit.md for the fields of an entry.",
        "type": "array",
        "items": {
          "type": "object",
          "additionalProperties": true
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
  },
  "KeyStoreName": {
    "type": "string",
    "pattern": "^[a-z0-9][a-z0-9-]{0,63}$"
  },
  "AdminKey": {
    "type": "object",
    "required": [
      "keyId",
      "status",
      "canEncrypt",
      "canDecrypt",
      "versions"
    ],
    "properties": {
      "keyId": {
        "type": "string"
      },
      "status": {
        "type": "string",
        "enum": [
          "ENABLED",
          "DISABLED"
        ]
      },
      "canEncrypt": {
        "type": "boolean"
      },
      "canDecrypt": {
        "type": "boolean"
      },
      "createdAt": {
        "$ref": "#/components/schemas/Milliseconds"
      },
      "activateAt": {
        "$ref": "#/components/schemas/Milliseconds"
      },
      "deactivateAt": {
        "$ref": "#/components/schemas/Milliseconds"
      },
      "dateState": {
        "description": "`PRE_ACTIVE` before `activateAt`: every request for the key is refused. `DEACTIVATED` from `deactivateAt` on:\nthe key only decrypts.\n",
        "type": "string",
        "enum": [
          "PRE_ACTIVE",
          "DEACTIVATED"
        ]
      },
      "problem": {
        "description": "Why a key on a token cannot be used.",
        "type": "object",
        "required": [
          "kind",
          "reason"
        ],
        "properties": {
          "kind": {
            "type": "string",
            "enum": [
              "AMBIGUOUS",
              "UNUSABLE",
              "REPLACED"
            ]
          },
          "reason": {
            "type": "string"
          }
        }
      },
      "groups": {
        "description": "Groups that the policy document `labels` assigns to the key; absent if there are none.",
        "type": "array",
        "items": {
          "type": "string"
        }
      },
      "tags": {
        "description": "Tags that the policy document `labels` assigns to the key; absent if there are none.",
        "type": "object",
        "additionalProperties": {
          "type": "string"
        }
      },
      "versions": {
        "type": "array",
        "items": {
          "type": "object",
          "required": [
            "version",
            "state"
          ],
          "properties": {
            "version": {
              "type": "integer"
            },
            "state": {
              "type": "string",
              "enum": [
                "CURRENT",
                "PREVIOUS",
                "DESTROYED"
              ]
            },
            "createdAt": {
              "$ref": "#/components/schemas/Milliseconds"
            },
            "encryptions": {
              "description": "Number of encryptions reserved so far; absent if they are not counted.",
              "type": "integer"
            },
            "token": {
              "description": "The object on the token.",
              "type": "object",
              "required": [
                "label",
                "id",
                "isExtractable"
              ],
              "properties": {
                "label": {
                  "type": "string"
                },
                "id": {
                  "type": "string"
                },
                "isExtractable": {
                  "type": "boolean"
                }
              }
            }
          }
        }
      }
    }
  },
  "AdminKeys": {
    "type": "object",
    "required": [
      "keys"
    ],
    "properties": {
      "nextCursor": {
        "$ref": "#/components/schemas/NextCursor"
      },
      "keys": {
        "type": "array",
        "items": {
          "$ref": "#/components/schemas/AdminKey"
        }
      },
      "warnings": {
        "description": "One sentence for each item that could not be read; absent if everything was read.",
        "type": "array",
        "items": {
          "type": "string"
        }
      }
    }
  },
  "AdminKeyCreateRequest": {
    "type": "object",
    "additionalProperties": false,
    "required": [
      "keyId",
      "canEncrypt",
      "canDecrypt"
    ],
    "properties": {
      "keyId": {
        "type": "string",
        "pattern": "^[A-Za-z0-9._-]{1,128}$"
      },
      "canEncrypt": {
        "type": "boolean"
      },
      "canDecrypt": {
        "type": "boolean"
      },
      "material": {
        "description": "The 32 bytes to import, in Base64. If absent, random material is generated.",
        "type": "string",
        "pattern": "^[A-Za-z0-9+/]{43}=$"
      },
      "activateAt": {
        "$ref": "#/components/schemas/Date"
      },
      "deactivateAt": {
        "$ref": "#/components/schemas/Date"
      },
      "ceremony": {
        "description": "The record of the key ceremony that created `material`. It is written to the control log with the import.",
        "type": "object",
        "additionalProperties": false,
        "required": [
          "sha256",
          "bytes",
          "witnesses"
        ],
        "properties": {
          "sha256": {
            "description": "SHA-256 of the record in hex.",
            "type": "string",
            "pattern": "^[0-9a-f]{64}$"
          },
          "bytes": {
            "description": "Size of the record in bytes.",
            "type": "integer",
            "minimum": 1
          },
          "witnesses": {
            "description": "Names of the people who were present.",
            "type": "array",
            "maxItems": 20,
            "items": {
              "type": "string",
              "minLength": 1,
              "maxLength": 200
            }
          }
        }
      }
    }
  },
  "AdminKeyChangeRequest": {
    "description": "`destroy-version` needs `version`, and shreds its material permanently, unless the version is being retired. `trust` needs `reason`, and accepts the\nkey that is currently on a token. `set-dates` sets `activateAt` and `deactivateAt`: `null` removes a date, and an\nomitted date stays unchanged.\n",
    "type": "object",
    "additionalProperties": false,
    "required": [
      "action"
    ],
    "properties": {
      "action": {
        "type": "string",
        "enum": [
          "rotate",
          "disable",
          "enable",
          "destroy-version",
          "trust",
          "set-dates"
        ]
      },
      "version": {
        "type": "integer",
        "minimum": 1
      },
      "reason": {
        "$ref": "#/components/schemas/Reason"
      },
      "activateAt": {
        "description": "Milliseconds since the Unix epoch, in the years 1970 to 9999.",
        "type": [
          "integer",
          "null"
        ],
        "minimum": 0,
        "maximum": 253402300799999
      },
      "deactivateAt": {
        "description": "Milliseconds since the Unix epoch, in the years 1970 to 9999.",
        "type": [
          "integer",
          "null"
        ],
        "minimum": 0,
        "maximum": 253402300799999
      }
    }
  },
  "AdminKeyChange": {
    "type": "object",
    "required": [
      "key"
    ],
    "properties": {
      "key": {
        "$ref": "#/components/schemas/AdminKey"
      },
      "changes": {
        "description": "Check values that `trust` recorded.",
        "type": "array",
        "items": {
          "type": "object",
          "required": [
            "version"
          ],
          "properties": {
            "version": {
              "type": "integer"
            },
            "recorded": {
              "type": "string"
            },
            "found": {
              "type": "string"
            }
          }
        }
      }
    }
  },
  "AdminRetirementRequest": {
    "description": "`request` needs `reason`, `quietForMs` and `waitForMs`, and a usage record that shows no Decrypt for that long. `approve` makes\nthe version refuse Decrypt. `cancel` needs `reason`; the version decrypts again.\n",
    "type": "object",
    "additionalProperties": false,
    "required": [
      "action",
      "version"
    ],
    "properties": {
      "action": {
        "type": "string",
        "enum": [
          "request",
          "approve",
          "cancel"
        ]
      },
      "version": {
        "type": "integer",
        "minimum": 1
      },
      "reason": {
        "$ref": "#/components/schemas/Reason"
      },
      "quietForMs": {
        "description": "How long the version must not have been used to decrypt, from 1 to 365 days.",
        "type": "integer",
        "minimum": 86400000,
        "maximum": 31536000000
      },
      "waitForMs": {
        "description": "How long the version refuses Decrypt before it may be destroyed, from 7 to 30 days.",
        "type": "integer",
        "minimum": 604800000,
        "maximum": 2592000000
      }
    }
  },
  "AdminActor": {
    "type": "object",
    "required": [
      "operator",
      "identity"
    ],
    "properties": {
      "operator": {
        "type": "string"
      },
      "identity": {
        "description": "Identity of the person. Two operators with the same identity count as one person.",
        "type": "string"
      }
    }
  },
  "AdminRetirement": {
    "type": "object",
    "required": [
      "keyStore",
      "keyId",
      "version",
      "reason",
      "requestedBy",
      "requestedAt",
      "quietForMs",
      "waitForMs"
    ],
    "properties": {
      "keyStore": {
        "type": "string"
      },
      "keyId": {
        "type": "string"
      },
      "version": {
        "type": "integer"
      },
      "reason": {
        "type": "string"
      },
      "requestedBy": {
        "$ref": "#/components/schemas/AdminActor"
      },
      "requestedAt": {
        "$ref": "#/components/schemas/Milliseconds"
      },
      "quietForMs": {
        "type": "integer"
      },
      "waitForMs": {
        "type": "integer"
      },
      "approval": {
        "description": "Absent until a second person approves. From `at` on, the version refuses Decrypt.",
        "type": "object",
        "required": [
          "operator",
          "identity",
          "at"
        ],
        "properties": {
          "operator": {
            "type": "string"
          },
          "identity": {
            "type": "string"
          },
          "at": {
            "$ref": "#/components/schemas/Milliseconds"
          }
        }
      },
      "destroyingSince": {
        "$ref": "#/components/schemas/Milliseconds"
      }
    }
  },
  "AdminRetirements": {
    "type": "object",
    "required": [
      "retirements"
    ],
    "properties": {
      "nextCursor": {
        "$ref": "#/components/schemas/NextCursor"
      },
      "retirements": {
        "type": "array",
        "items": {
          "$ref": "#/components/schemas/AdminRetirement"
        }
      }
    }
  },
  "AdminVersionReports": {
    "type": "object",
    "required": [
      "versions"
    ],
    "properties": {
      "versions": {
        "type": "array",
        "items": {
          "type": "object",
          "required": [
            "version",
            "state",
            "quiet",
            "uses"
          ],
          "properties": {
            "version": {
              "type": "integer"
            },
            "state": {
              "type": "string",
              "enum": [
                "CURRENT",
                "PREVIOUS",
                "DESTROYED"
              ]
            },
            "createdAt": {
              "$ref": "#/components/schemas/Milliseconds"
            },
            "encryptions": {
              "type": "integer"
            },
            "quiet": {
              "description": "The period in which the version has decrypted nothing. It ends at the time up to which the record is complete.",
              "type": "object",
              "required": [
                "since",
                "ms"
              ],
              "properties": {
                "since": {
                  "$ref": "#/components/schemas/Milliseconds"
                },
                "until": {
                  "$ref": "#/components/schemas/Milliseconds"
                },
                "ms": {
                  "type": "integer"
                },
                "doubt": {
                  "description": "Why the record is incomplete.",
                  "type": "string"
                }
              }
            },
            "uses": {
              "type": "array",
              "items": {
                "type": "object",
                "required": [
                  "kind",
                  "caller",
                  "uses",
                  "firstAt",
                  "lastAt"
                ],
                "properties": {
                  "kind": {
                    "type": "string",
                    "enum": [
                      "encrypt",
                      "decrypt",
                      "refused"
                    ]
                  },
                  "caller": {
                    "description": "The caller; empty if unknown.",
                    "type": "string"
                  },
                  "uses": {
                    "type": "integer"
                  },
                  "firstAt": {
                    "$ref": "#/components/schemas/Milliseconds"
                  },
                  "lastAt": {
                    "$ref": "#/components/schemas/Milliseconds"
                  }
                }
              }
            },
            "retirement": {
              "$ref": "#/components/schemas/AdminRetirement"
            }
          }
        }
      }
    }
  },
  "AdminCredential": {
    "type": "object",
    "required": [
      "accessKeyId",
      "keyStore",
      "status",
      "createdAt"
    ],
    "properties": {
      "accessKeyId": {
        "type": "string"
      },
      "keyStore": {
        "type": "string"
      },
      "status": {
        "type": "string",
        "enum": [
          "ACTIVE",
          "EXPIRED",
          "REVOKED"
        ]
      },
      "createdAt": {
        "$ref": "#/components/schemas/Milliseconds"
      },
      "expiresAt": {
        "$ref": "#/components/schemas/Milliseconds"
      },
      "revokedAt": {
        "$ref": "#/components/schemas/Milliseconds"
      },
      "uses": {
        "description": "Number of requests that the credential signed.",
        "type": "integer"
      },
      "lastUsedAt": {
        "$ref": "#/components/schemas/Milliseconds"
      }
    }
  },
  "AdminCredentials": {
    "type": "object",
    "required": [
      "credentials"
    ],
    "properties": {
      "nextCursor": {
        "$ref": "#/components/schemas/NextCursor"
      },
      "credentials": {
        "type": "array",
        "items": {
          "$ref": "#/components/schemas/AdminCredential"
        }
      }
    }
  },
  "AdminCredentialCreateRequest": {
    "type": "object",
    "additionalProperties": false,
    "required": [
      "keyStore"
    ],
    "properties": {
      "keyStore": {
        "$ref": "#/components/schemas/KeyStoreName"
      },
      "expiresAt": {
        "$ref": "#/components/schemas/Date"
      },
      "pair": {
        "description": "An existing pair of access key id and secret to import. If absent, a random pair is generated.",
        "type": "object",
        "additionalProperties": false,
        "required": [
          "accessKeyId",
          "secretAccessKey"
        ],
        "properties": {
          "accessKeyId": {
            "type": "string",
            "maxLength": 64
          },
          "secretAccessKey": {
            "type": "string",
            "maxLength": 128
          }
        }
      }
    }
  },
  "AdminNewCredential": {
    "type": "object",
    "required": [
      "accessKeyId",
      "keyStore",
      "secretAccessKey"
    ],
    "properties": {
      "accessKeyId": {
        "type": "string"
      },
      "keyStore": {
        "type": "string"
      },
      "secretAccessKey": {
        "type": "string"
      },
      "expiresAt": {
        "$ref": "#/components/schemas/Milliseconds"
      }
    }
  },
  "AdminCredentialChangeRequest": {
    "description": "`expire` requires `at`. `revoke` is permanent.",
    "type": "object",
    "additionalProperties": false,
    "required": [
      "action"
    ],
    "properties": {
      "action": {
        "type": "string",
        "enum": [
          "expire",
          "revoke"
        ]
      },
      "at": {
        "$ref": "#/components/schemas/Date"
      }
    }
  },
  "PolicyDocuments": {
    "description": "Policy documents, by name.",
    "type": "object",
    "additionalProperties": {
      "type": "string"
    }
  },
  "AdminPolicies": {
    "type": "object",
    "required": [
      "revision",
      "enforced"
    ],
    "properties": {
      "revision": {
        "type": "integer"
      },
      "enforced": {
        "$ref": "#/components/schemas/PolicyDocuments"
      },
      "shadow": {
        "$ref": "#/components/schemas/PolicyDocuments"
      }
    }
  },
  "AdminPolicyChangeRequest": {
    "description": "`put` needs `documents`, `delete` needs `name`, `rollback` needs `revision`. `put` and `delete` change what is in\nforce, or, with `mode`, what is in shadow mode.\n",
    "type": "object",
    "additionalProperties": false,
    "required": [
      "kind"
    ],
    "properties": {
      "kind": {
        "type": "string",
        "enum": [
          "put",
          "delete",
          "promote",
          "discard",
          "rollback"
        ]
      },
      "documents": {
        "$ref": "#/components/schemas/PolicyDocuments"
      },
      "name": {
        "type": "string",
        "minLength": 1,
        "maxLength": 200
      },
      "mode": {
        "type": "string",
        "enum": [
          "enforce",
          "shadow"
        ]
      },
      "revision": {
        "type": "integer",
        "minimum": 0,
        "maximum": 999999999
      },
      "dryRun": {
        "description": "If true, returns the change without writing it.",
        "type": "boolean"
      },
      "expectedRevision": {
        "description": "The revision that the change is based on. If another revision is current, the change is refused with `CONFLICT`.",
        "type": "integer"
      },
      "reason": {
        "description": "Required to write the change.",
        "$ref": "#/components/schemas/Reason"
      },
      "wait": {
        "description": "If true (the default), the response is sent once every instance applies the change; if false, once the change is written.",
        "type": "boolean"
      },
      "timeoutMs": {
        "description": "How long to wait for the instances. Default: 30 seconds plus the lease.",
        "type": "integer",
        "minimum": 1,
        "maximum": 600000
      }
    }
  },
  "AdminPolicyChange": {
    "type": "object",
    "required": [
      "before",
      "after",
      "entries"
    ],
    "properties": {
      "before": {
        "$ref": "#/components/schemas/AdminPolicies"
      },
      "after": {
        "$ref": "#/components/schemas/AdminPolicies"
      },
      "entries": {
        "description": "The effect on each document. A document without `text` is deleted.",
        "type": "array",
        "items": {
          "type": "object",
          "required": [
            "name",
            "mode"
          ],
          "properties": {
            "name": {
              "type": "string"
            },
            "mode": {
              "type": "string",
              "enum": [
                "enforce",
                "shadow",
                "discard"
              ]
            },
            "text": {
              "type": "string"
            }
          }
        }
      },
      "epoch": {
        "type": "integer"
      },
      "elapsedMs": {
        "type": "number"
      },
      "instances": {
        "type": "array",
        "items": {
          "$ref": "#/components/schemas/InstanceOutcome"
        }
      }
    }
  },
  "AdminPolicyHistory": {
    "type": "object",
    "required": [
      "revisions"
    ],
    "properties": {
      "nextCursor": {
        "$ref": "#/components/schemas/NextCursor"
      },
      "revisions": {
        "type": "array",
        "items": {
          "type": "object",
          "required": [
            "revision",
            "action",
            "reason",
            "operator",
            "createdAt",
            "documents"
          ],
          "properties": {
            "revision": {
              "type": "integer"
            },
            "action": {
              "type": "string"
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
            "documents": {
              "type": "array",
              "items": {
                "type": "object",
                "additionalProperties": true
              }
            }
          }
        }
      }
    }
  },
  "AdminPolicyRevision": {
    "type": "object",
    "required": [
      "documents"
    ],
    "properties": {
      "documents": {
        "$ref": "#/components/schemas/PolicyDocuments"
      }
    }
  },
  "AdminUsage": {
    "type": "object",
    "required": [
      "period",
      "usage"
    ],
    "properties": {
      "period": {
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
      "usage": {
        "type": "array",
        "items": {
          "type": "object",
          "required": [
            "subject",
            "requests",
            "firstAt",
            "lastAt"
          ],
          "properties": {
            "subject": {
              "type": "object",
              "additionalProperties": true
            },
            "requests": {
              "type": "integer"
            },
            "firstAt": {
              "$ref": "#/components/schemas/Milliseconds"
            },
            "lastAt": {
              "$ref": "#/components/schemas/Milliseconds"
            }
          }
        }
      }
    }
  },
  "OperatorName": {
    "type": "string",
    "pattern": "^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"
  },
  "OperatorRole": {
    "type": "string",
    "enum": [
      "viewer",
      "auditor",
      "operator",
      "custodian",
      "admin"
    ]
  },
  "AdminOperatorRequest": {
    "description": "A group requires `role`; a person requires `role`, `groups` or both.",
    "type": "object",
    "additionalProperties": false,
    "required": [
      "name",
      "kind"
    ],
    "properties": {
      "name": {
        "$ref": "#/components/schemas/OperatorName"
      },
      "kind": {
        "type": "string",
        "enum": [
          "person",
          "group"
        ]
      },
      "role": {
        "$ref": "#/components/schemas/OperatorRole"
      },
      "keyStores": {
        "description": "Key stores that `role` is limited to; absent if the role covers all key stores.",
        "type": "array",
        "minItems": 1,
        "items": {
          "$ref": "#/components/schemas/KeyStoreName"
        }
      },
      "groups": {
        "type": "array",
        "items": {
          "$ref": "#/components/schemas/OperatorName"
        }
      }
    }
  },
  "AdminOperator": {
    "type": "object",
    "required": [
      "name",
      "kind",
      "groups",
      "createdAt",
      "createdBy"
    ],
    "properties": {
      "name": {
        "type": "string"
      },
      "kind": {
        "type": "string",
        "enum": [
          "person",
          "group"
        ]
      },
      "role": {
        "$ref": "#/components/schemas/OperatorRole"
      },
      "keyStores": {
        "type": "array",
        "items": {
          "type": "string"
        }
      },
      "groups": {
        "type": "array",
        "items": {
          "type": "string"
        }
      },
      "createdAt": {
        "$ref": "#/components/schemas/Milliseconds"
      },
      "createdBy": {
        "type": "string"
      }
    }
  },
  "AdminOperators": {
    "type": "object",
    "required": [
      "operators"
    ],
    "properties": {
      "nextCursor": {
        "$ref": "#/components/schemas/NextCursor"
      },
      "operators": {
        "type": "array",
        "items": {
          "$ref": "#/components/schemas/AdminOperator"
        }
      }
    }
  },
  "AdminTokenRequest": {
    "type": "object",
    "additionalProperties": false,
    "required": [
      "operator"
    ],
    "properties": {
      "operator": {
        "$ref": "#/components/schemas/OperatorName"
      },
      "expiresAt": {
        "$ref": "#/components/schemas/Date"
      }
    }
  },
  "AdminNewToken": {
    "type": "object",
    "required": [
      "id",
      "token"
    ],
    "properties": {
      "id": {
        "type": "string"
      },
      "token": {
        "type": "string"
      }
    }
  },
  "AdminTokens": {
    "type": "object",
    "required": [
      "tokens"
    ],
    "properties": {
      "nextCursor": {
        "$ref": "#/components/schemas/NextCursor"
      },
      "tokens": {
        "type": "array",
        "items": {
          "type": "object",
          "required": [
            "id",
            "operator",
            "status",
            "createdAt",
            "createdBy",
            "isPersonal",
            "uses"
          ],
          "properties": {
            "id": {
              "type": "string"
            },
            "operator": {
              "type": "string"
            },
            "status": {
              "type": "string",
              "enum": [
                "ACTIVE",
                "EXPIRED",
                "REVOKED"
              ]
            },
            "createdAt": {
              "$ref": "#/components/schemas/Milliseconds"
            },
            "createdBy": {
              "type": "string"
            },
            "isPersonal": {
              "description": "False if another caller created the token through a listener. In that case, the token can neither request nor approve a retirement.\n",
              "type": "boolean"
            },
            "expiresAt": {
              "$ref": "#/components/schemas/Milliseconds"
            },
            "revokedAt": {
              "$ref": "#/components/schemas/Milliseconds"
            },
            "uses": {
              "type": "integer"
            },
            "lastUsedAt": {
              "$ref": "#/components/schemas/Milliseconds"
            }
          }
        }
      }
    }
  },
  "AdminLogin": {
    "type": "object",
    "required": [
      "issuer",
      "clientId",
      "scope"
    ],
    "properties": {
      "issuer": {
        "type": "string"
      },
      "clientId": {
        "type": "string"
      },
      "scope": {
        "type": "string"
      }
    }
  }
}
