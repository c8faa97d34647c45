/**
 * A small software vendor that encrypts its customers' documents as services on AWS do: one KMS data
 * key for each document, the encrypted data key stored beside the document, and the plaintext data keys
 * of open documents cached in memory for a while.
 */
// SPDX-License-Identifier: Apache-2.0
import { createCipheriv, createDecipheriv } from 'node:crypto'
import type { Clock } from '../../core/clock.ts'
import { pause } from '../../core/deadline.ts'
import { drawIv, IV_BYTES } from '../../core/kernel-random.ts'
import type { KmsStandIn } from '../../kms/emulator/emulator.ts'
import { KmsException } from '../../kms/emulator/proxy-failure.ts'

export interface VendorOptions {
  readonly kms: KmsStandIn
  /** ARN of the customer's KMS key. */
  readonly keyArn: string
  readonly clock: Clock
  /** Lifetime of a cached data key, in milliseconds. */
  readonly cacheMs: number
}

export interface ReadOutcome {
  readonly name: string
  /** Source of the data key, or the exception that KMS threw. */
  readonly how: 'kms' | 'memory' | { readonly refused: string }
  readonly text?: string
}

export interface Vendor {
  /** Stores a document. @param isInUse whether its data key stays in memory. @throws KmsException */
  store(name: string, text: string, isInUse: boolean): Promise<void>
  /** Reads a document. An exception from KMS is returned as an outcome, not thrown. */
  read(name: string): Promise<ReadOutcome>
  readAll(): Promise<readonly ReadOutcome[]>
  /** Reads a document as another customer of the same vendor would. @throws KmsException */
  readAs(tenant: string, name: string): Promise<string>
  /** Waits until the cache is empty. */
  forget(): Promise<void>
}

interface Document {
  readonly ciphertext: Buffer
  readonly encryptedDataKey: Buffer
  readonly isInUse: boolean
}

const TENANT = 'northwind'
const PRINCIPAL = {
  principalArn: 'arn:aws:iam::444455556666:role/DocumentService',
  viaService: 's3',
}
const CIPHER = 'aes-256-gcm'
const TAG_BYTES = 16

export function createVendor({ kms, keyArn, clock, cacheMs }: VendorOptions): Vendor {
  const documents = new Map<string, Document>()
  const memory = new Map<string, { readonly dataKey: Buffer; readonly until: number }>()
  const contextOf = (tenant: string, name: string) => ({ tenant, document: name })

  function remembered(name: string): Buffer | undefined {
    const found = memory.get(name)
    if (found === undefined || clock.monotonic() < found.until) return found?.dataKey
    found.dataKey.fill(0)
    memory.delete(name)
    return undefined
  }

  function keep(name: string, dataKey: Buffer): void {
    memory.set(name, { dataKey, until: clock.monotonic() + cacheMs })
  }

  async function decrypt(tenant: string, name: string, document: Document): Promise<Buffer> {
    const { plaintext } = await kms.decrypt(PRINCIPAL, {
      ciphertextBlob: document.encryptedDataKey,
      encryptionContext: contextOf(tenant, name),
    })
    return plaintext
  }

  function find(name: string): Document {
    const document = documents.get(name)
    if (document === undefined) throw new TypeError(`the vendor has no document ${name}`)
    return document
  }

  const vendor: Vendor = {
    async store(name, text, isInUse) {
      const { plaintext: dataKey, ciphertextBlob } = await kms.generateDataKey(PRINCIPAL, {
        keyId: keyArn,
        encryptionContext: contextOf(TENANT, name),
      })
      const ciphertext = seal(dataKey, text)
      documents.set(name, { ciphertext, encryptedDataKey: ciphertextBlob, isInUse })
      if (isInUse) keep(name, dataKey)
      else dataKey.fill(0)
    },
    async read(name) {
      const document = find(name)
      const cached = remembered(name)
      if (cached !== undefined) {
        return { name, how: 'memory', text: open(cached, document.ciphertext) }
      }
      try {
        const dataKey = await decrypt(TENANT, name, document)
        const text = open(dataKey, document.ciphertext)
        if (document.isInUse) keep(name, dataKey)
        else dataKey.fill(0)
        return { name, how: 'kms', text }
      } catch (error) {
        if (!(error instanceof KmsException)) throw error
        return { name, how: { refused: error.code } }
      }
    },
    async readAll() {
      const outcomes: ReadOutcome[] = []
      for (const name of documents.keys()) outcomes.push(await vendor.read(name))
      return outcomes
    },
    async readAs(tenant, name) {
      const document = find(name)
      return open(await decrypt(tenant, name, document), document.ciphertext)
    },
    async forget() {
      const last = Math.max(0, ...[...memory.values()].map(({ until }) => until))
      const left = last - clock.monotonic()
      if (left > 0) await pause(Math.ceil(left) + 1)
    },
  }
  return vendor
}

function seal(dataKey: Buffer, text: string): Buffer {
  const iv = drawIv()
  const cipher = createCipheriv(CIPHER, dataKey, iv)
  return Buffer.concat([iv, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()])
}

function open(dataKey: Buffer, sealed: Buffer): string {
  const decipher = createDecipheriv(CIPHER, dataKey, sealed.subarray(0, IV_BYTES))
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES))
  const text = decipher.update(sealed.subarray(IV_BYTES, -TAG_BYTES))
  return Buffer.concat([text, decipher.final()]).toString('utf8')
}
