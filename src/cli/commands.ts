/** Every command there is, in the order of the overview. */
// SPDX-License-Identifier: Apache-2.0
import type { Command } from './command.ts'
import { adminToken } from './commands/admin-token.ts'
import { bench } from './commands/bench.ts'
import { configCheck, configSchema } from './commands/config.ts'
import { controlAcceptEpoch } from './commands/control.ts'
import { credentialsCreate } from './commands/credentials-create.ts'
import { credentialsExpire, credentialsList, credentialsRevoke } from './commands/credentials.ts'
import { doctor } from './commands/doctor.ts'
import { exposure } from './commands/exposure.ts'
import { drill } from './commands/drill.ts'
import { init } from './commands/init.ts'
import { keysCreate, keysImport } from './commands/keys-create.ts'
import {
  keysDestroyVersion,
  keysDisable,
  keysEnable,
  keysList,
  keysRotate,
} from './commands/keys.ts'
import { kill } from './commands/kill.ts'
import { leaseClose, leaseEnd, leaseRenew, leaseStart } from './commands/lease.ts'
import { pkcs11Probe } from './commands/pkcs11-probe.ts'
import { quickstart } from './commands/quickstart.ts'
import { register } from './commands/register.ts'
import { report } from './commands/report.ts'
import { receiptKey, receiptList, receiptShow, receiptVerify } from './commands/receipt.ts'
import { restore, restoreApprove, restoreWithdraw } from './commands/restore.ts'
import { rotateCredentials } from './commands/rotate-credentials.ts'
import { serve } from './commands/serve.ts'
import { simulate } from './commands/simulate.ts'
import { status } from './commands/status.ts'
import { unregister } from './commands/unregister.ts'
import { version } from './commands/version.ts'

export const COMMANDS: readonly Command[] = [
  quickstart,
  simulate,
  init,
  serve,
  kill,
  restore,
  restoreApprove,
  restoreWithdraw,
  status,
  exposure,
  receiptList,
  receiptShow,
  receiptVerify,
  receiptKey,
  drill,
  leaseStart,
  leaseRenew,
  leaseClose,
  leaseEnd,
  controlAcceptEpoch,
  configCheck,
  configSchema,
  keysCreate,
  keysImport,
  keysList,
  keysRotate,
  keysDisable,
  keysEnable,
  keysDestroyVersion,
  pkcs11Probe,
  credentialsCreate,
  credentialsList,
  credentialsExpire,
  credentialsRevoke,
  adminToken,
  doctor,
  bench,
  register,
  rotateCredentials,
  unregister,
  report,
  version,
]
