/**
 * What a till promises and a purse pays: the signed part of an invoice. The till signs these exact bytes with its
 * Ed25519 key (RFC 8032); the purse takes recipient and amount from here and from nowhere else.
 */
import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import { z } from 'zod'
import { invalid } from './errors.ts'

/** An address of any chain. No spaces here or below: what is signed is shown to agents, who might obey it. */
const ADDRESS = /^[\w:+/=-]{1,120}$/

const payloadSchema = z.strictObject({
  v: z.literal(1),
  /** The till's public key: binds the promise to its maker. */
  payee: z.string(),
  invoice: z.string().regex(/^[\w-]{1,80}$/),
  rail: z.string().regex(/^[\w.-]{1,64}:[A-Za-z0-9.]{1,15}$/),
  /** CAIP-2, so that the same rail name on another network is not the same promise: `eip155:1`, `bip122:...`. */
  network: z.string().regex(/^[-a-z0-9]{3,8}:[-_a-zA-Z0-9]{1,32}$/),
  /** Token contract, or null for the chain's own coin. */
  contract: z.string().regex(ADDRESS).nullable(),
  recipient: z.string().regex(ADDRESS).min(10),
  /** Atomic units. */
  amount: z.string().regex(/^[1-9]\d{0,77}$/),
  /** Unix milliseconds. */
  expires_at: z.int().positive(),
})

export type SignedPayload = z.output<typeof payloadSchema>

export interface SignedInvoice {
  /** JSON text; the signature covers exactly these bytes. */
  readonly payload: string
  /** base64url, 64 bytes. */
  readonly signature: string
  /** `ed25519:` + base64url of the 32-byte public key. */
  readonly payee: string
}

export function signInvoice(payload: SignedPayload, key: KeyObject): SignedInvoice {
  const text = JSON.stringify(payload)
  return {
    payload: text,
    signature: sign(null, bytes(text), key).toString('base64url'),
    payee: payload.payee,
  }
}

/** The text form of an Ed25519 public key. */
export function payeeOf(key: KeyObject): string {
  const jwk = createPublicKey(key).export({ format: 'jwk' })
  return `ed25519:${jwk.x}`
}

/** @throws {BursarError} invalid_request: not signed by `signed.payee`, or not a payload this version knows. */
export function verifyInvoice(signed: SignedInvoice): SignedPayload {
  const match = /^ed25519:([A-Za-z0-9_-]{43})$/.exec(signed.payee)
  if (!match?.[1]) throw invalid('The invoice names no valid payee key.')
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: match[1] }, format: 'jwk' })
  if (!verify(null, bytes(signed.payload), key, Buffer.from(signed.signature, 'base64url'))) {
    throw invalid('The invoice is not signed by its payee: it was altered on the way.', {
      remedy: 'Fetch the invoice again from the till; do not pay this one.',
    })
  }
  const parsed = payloadSchema.safeParse(safeJson(signed.payload))
  if (!parsed.success || parsed.data.payee !== signed.payee) {
    throw invalid('The signed invoice has a form that this version does not know.', {
      remedy: 'Use the same version of Bursar for the purse and the till.',
    })
  }
  return parsed.data
}

function bytes(text: string): Buffer {
  return Buffer.from(`bursar-invoice-v1\n${text}`, 'utf8')
}

function safeJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
