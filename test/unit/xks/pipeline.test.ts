/** Tests the order of a request's checks and its time budget, using backends that stall on demand. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { BackendError } from '../../../src/keys/errors.ts'
import type { Deadline } from '../../../src/core/deadline.ts'
import { systemClock } from '../../../src/core/clock.ts'
import { SignatureError } from '../../../src/sigv4/errors.ts'
import type { Verifier } from '../../../src/sigv4/verify.ts'
import { XKS_ERRORS } from '../../../src/xks/errors.ts'
import { STAGES } from '../../../src/core/request.ts'
import { ACCESS_KEY_ID } from '../../support/credential.ts'
import { encryptBody } from '../../support/wire.ts'
import {
  DEADLINE_MS as deadlineMs,
  SEALED,
  KEY,
  ENCRYPT,
  DECRYPT,
  METADATA,
  HEALTH,
  never,
  pipelineOf,
} from '../../support/pipeline.ts'

void t.test(
  '[LAT-1] a backend that does not respond in time causes a DependencyTimeoutException',
  async (t) => {
    const slow = [
      { name: 'describe', request: METADATA, backend: { describe: never } },
      { name: 'describe', request: ENCRYPT, backend: { describe: never } },
      { name: 'encrypt', request: ENCRYPT, backend: { encrypt: never } },
      { name: 'decrypt', request: DECRYPT, backend: { decrypt: never } },
      {
        name: 'the verifying decrypt',
        request: {
          ...ENCRYPT,
          body: encryptBody({ ciphertextDataIntegrityValueAlgorithm: 'SHA_256' }),
        },
        backend: { decrypt: never },
      },
    ]
    for (const { name, request, backend } of slow) {
      const { status, json, record } = await pipelineOf({ backend, deadlineMs }).ask(request)
      t.equal(status, 503, name)
      t.same(json, {
        errorName: 'DependencyTimeoutException',
        errorMessage: XKS_ERRORS.DependencyTimeoutException.message,
      })
      t.match(record, { status: 503, reason: 'TIMEOUT' })
      // Timers count from the start of the event loop turn, which may be well in the past.
      t.ok((record?.totalMs ?? 0) >= deadlineMs / 2, 'and not at once')
    }
  },
)

void t.test('[LAT-1] every call of a request shares one deadline', async (t) => {
  const seen = new Set<Deadline>()
  const see = (deadline: Deadline) => {
    seen.add(deadline)
    t.ok(deadline.remainingMs <= 60_000)
  }
  const { ask } = pipelineOf({
    keyStore: { verifyEveryEncrypt: true },
    backend: {
      describe: (_keyId, deadline) => (see(deadline), Promise.resolve(KEY)),
      encrypt: ({ deadline }) => (see(deadline), Promise.resolve(SEALED)),
      decrypt: ({ deadline }) => (
        see(deadline),
        Promise.resolve(Buffer.from('a data key of thirty-two bytes!!'))
      ),
    },
  })
  t.equal((await ask(ENCRYPT)).status, 200)
  t.equal(seen.size, 1)
})

void t.test('[LAT-1] a failure after the deadline has no effect', async (t) => {
  let fail: (error: Error) => void = () => undefined
  const late = new Promise<never>((_resolve, reject) => {
    fail = reject
  })
  const { ask, records } = pipelineOf({ backend: { encrypt: () => late }, deadlineMs })
  t.equal((await ask(ENCRYPT)).status, 503)
  fail(new BackendError('UNAVAILABLE', 'it came back'))
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(records.length, 1, 'and the request was recorded once')
})

void t.test('[HLT-9] health is answered from the cache, whatever the backend does', async (t) => {
  const { ask } = pipelineOf({ backend: { describe: never, health: never }, quota: () => false })
  t.equal((await ask(HEALTH)).status, 200)
})

/** Starts with a request that fails every check. Each step fixes the failure that was reported. */
void t.test(
  'with several faults, the first in the order of docs/internals/architecture.md is reported',
  async (t) => {
    const refuse: Verifier = {
      verify: () => {
        throw new SignatureError('SIGNATURE_MISMATCH', 'no')
      },
    }
    const broken = { ...ENCRYPT, body: '{' }
    const gone = new BackendError('KEY_NOT_FOUND', 'no')
    const backend = { describe: () => Promise.reject(gone) }
    const usage = { describe: () => Promise.resolve({ ...KEY, enabled: false, canEncrypt: false }) }
    const only = { describe: () => Promise.resolve({ ...KEY, canEncrypt: false }) }
    const quota = () => false
    const steps = [
      [
        { ...broken, path: '/nowhere' },
        { verifier: refuse, quota, backend },
        'InvalidUriPathException',
      ],
      [broken, { verifier: refuse, quota, backend }, 'AuthenticationFailedException'],
      [broken, { quota, backend }, 'ValidationException'],
      [ENCRYPT, { quota, backend }, 'ThrottlingException'],
      [ENCRYPT, { backend }, 'KeyNotFoundException'],
      [ENCRYPT, { backend: usage }, 'InvalidStateException'],
      [ENCRYPT, { backend: only }, 'InvalidKeyUsageException'],
    ] as const
    for (const [request, setting, errorName] of steps)
      t.equal((await pipelineOf(setting).ask(request)).json['errorName'], errorName)
    const get = await pipelineOf({ verifier: refuse }).ask(ENCRYPT, { method: 'GET' })
    t.equal(get.status, 405, 'the method comes before the signature')
  },
)

void t.test('[HLT-3] each operation gets the checks that the specification requires', async (t) => {
  const described = (more: object) => ({
    backend: { describe: () => Promise.resolve({ ...KEY, ...more }) },
  })
  const missing = {
    backend: { describe: () => Promise.reject(new BackendError('KEY_NOT_FOUND', 'no')) },
  }
  const operations = { GetKeyMetadata: METADATA, Encrypt: ENCRYPT, Decrypt: DECRYPT, HEALTH }
  const [quota, gone] = ['ThrottlingException', 'KeyNotFoundException']
  const [state, usage] = ['InvalidStateException', 'InvalidKeyUsageException']
  const GRID = [
    ['nothing is wrong', {}, [undefined, undefined, undefined, undefined]],
    ['the quota is spent', { quota: () => false }, [quota, quota, quota, undefined]],
    ['there is no such key', missing, [gone, gone, gone, undefined]],
    ['it is disabled', described({ enabled: false }), [undefined, state, state, undefined]],
    ['no encryption', described({ canEncrypt: false }), [undefined, usage, undefined, undefined]],
    ['no decryption', described({ canDecrypt: false }), [undefined, undefined, usage, undefined]],
  ] as const
  for (const [what, setting, expected] of GRID) {
    const { ask } = pipelineOf(setting)
    for (const [i, [name, request]] of Object.entries(operations).entries()) {
      t.equal((await ask(request)).json['errorName'], expected[i], `${name}: ${what}`)
    }
  }
})

void t.test(
  '[ERR-1] an internal fault is an InternalException, and its cause appears only in the log',
  async (t) => {
    const gone = new BackendError('UNAVAILABLE', 'slot 4 is gone')
    const bug = new TypeError('a bug')
    const quota = () => {
      throw bug
    }
    for (const [thrown, reason, setting] of [
      [gone, 'UNAVAILABLE', { backend: { encrypt: () => Promise.reject(gone) } }],
      [bug, 'UNEXPECTED', { quota }],
    ] as const) {
      const { status, json, record } = await pipelineOf(setting).ask(ENCRYPT)
      t.equal(status, 500)
      t.same(json, {
        errorName: 'InternalException',
        errorMessage: XKS_ERRORS.InternalException.message,
      })
      t.match(record, { status: 500, errorName: 'InternalException', reason })
      t.equal(record?.fault, thrown)
    }
  },
)

void t.test(
  'the record has the caller, the operation and each stage that was reached',
  async (t) => {
    const { record } = await pipelineOf().ask(ENCRYPT)
    t.match(record, {
      keyStore: 'demo',
      operation: 'Encrypt',
      keyId: 'key',
      keyVersion: 1,
      accessKeyId: ACCESS_KEY_ID,
      region: 'us-east-1',
      status: 200,
      metadata: { kmsOperation: 'Encrypt' },
    })
    const reached = STAGES.filter((_stage, i) => !Number.isNaN(record?.stages[i]))
    for (const stage of ['read', 'auth', 'decode', 'key', 'backend', 'encode'] as const)
      t.ok(reached.includes(stage), stage)
    t.notOk(reached.includes('verify'), 'nothing was verified')
  },
)

void t.test(
  '[LAT-1] a request past its deadline, or whose caller has gone, is not started',
  async (t) => {
    const untouched = () => {
      throw new Error('the verifier was asked')
    }
    const { ask } = pipelineOf({ verifier: { verify: untouched }, deadlineMs })
    const late = await ask(ENCRYPT, { startedAt: systemClock.monotonic() - deadlineMs - 1 })
    t.match(late, {
      status: 429,
      json: { errorName: 'ThrottlingException' },
      record: { reason: 'LATE', errorName: 'ThrottlingException' },
    })
    const gone = await ask(ENCRYPT, { isGone: () => true })
    t.match(gone, { status: 429, record: { reason: 'CALLER_GONE' } })
  },
)
