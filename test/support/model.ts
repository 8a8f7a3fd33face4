/**
 * The ledger as one would write it down on paper: one thing at a time, credits lapse the moment they expire. The real
 * one groups, and books lapsed credits late; it must come out the same.
 */
export interface ModelLot {
  readonly ref: string
  readonly granted: bigint
  readonly expiresAt: number
  remaining: bigint
  lapsed: bigint
  reversed: boolean
}

export interface ModelHold {
  readonly account: string
  readonly amount: bigint
  readonly lapseCharge: bigint
  readonly expiresAt: number
  charged?: bigint
}

interface ModelAccount {
  /** Available and held together; below zero after a reversal. */
  total: bigint
  held: bigint
  charged: bigint
  readonly lots: ModelLot[]
}

export interface Model {
  readonly accounts: ReadonlyMap<string, ModelAccount>
  readonly holds: ReadonlyMap<string, ModelHold>
  open(account: string): void
  grant(account: string, ref: string, credits: bigint, expiresAt: number): void
  reverse(ref: string): void
  /** Whether the hold is taken. */
  hold(ref: string, hold: ModelHold): boolean
  /** What the hold's first outcome charged. */
  close(ref: string, cost: bigint): bigint
  /** Moves the time; what expires on the way lapses. Lapsed holds wait for `lapse`. */
  advance(ms: number): void
  lapse(): void
}

/** What a payment or a pack's discount has given, as it stands; a fork may take it back, and give it again. */
export interface Granted {
  readonly payment: string
  readonly account: string
  readonly credits: bigint
  readonly kind: 'grant' | 'discount'
  readonly expiresAt: number | null
  epoch: number
  reversed: boolean
}

export function createModel(start: number): Model {
  const accounts = new Map<string, ModelAccount>()
  const holds = new Map<string, ModelHold>()
  let now = start

  const find = (id: string): ModelAccount => {
    const account = accounts.get(id)
    if (!account) throw new Error(`The model has no account ${id}.`)
    return account
  }
  const byExpiry = ({ lots }: ModelAccount): ModelLot[] =>
    [...lots].sort((a, b) => a.expiresAt - b.expiresAt || (a.ref < b.ref ? -1 : 1))

  /** Takes credits out of lots, oldest expiry first, as far as they go. */
  function take(
    lots: readonly ModelLot[],
    wanted: bigint,
    each: (lot: ModelLot, taken: bigint) => void,
  ): void {
    let left = wanted
    for (const lot of lots) {
      const taken = lot.remaining < left ? lot.remaining : left
      if (taken <= 0n) continue
      lot.remaining -= taken
      left -= taken
      each(lot, taken)
    }
  }

  /** Past their expiry, credits stay only as far as holds need them. */
  function expire(account: ModelAccount): void {
    const past = byExpiry(account).filter((lot) => lot.expiresAt <= now)
    const free = past.reduce((sum, lot) => sum + lot.remaining, 0n) - account.held
    // A hold is covered by what expires first: that is what its capture takes.
    take(past.toReversed(), free, (lot, taken) => {
      lot.lapsed += taken
      account.total -= taken
    })
  }

  return {
    accounts,
    holds,
    open: (id) => void accounts.set(id, { total: 0n, held: 0n, charged: 0n, lots: [] }),
    grant(id, ref, credits, expiresAt) {
      const account = find(id)
      if (account.lots.some((lot) => lot.ref === ref)) return
      const debt = account.total < 0n ? -account.total : 0n
      const remaining = credits > debt ? credits - debt : 0n
      account.total += credits
      account.lots.push({ ref, granted: credits, expiresAt, remaining, lapsed: 0n, reversed: false })
      expire(account)
    },
    reverse(ref) {
      for (const account of accounts.values()) {
        const lot = account.lots.find((each) => each.ref === ref)
        if (!lot || lot.reversed) continue
        const spent = lot.granted - lot.lapsed - lot.remaining
        account.total -= lot.granted - lot.lapsed
        Object.assign(lot, { remaining: 0n, lapsed: 0n, reversed: true })
        take(byExpiry(account), spent, () => undefined)
      }
    },
    hold(ref, hold) {
      const account = find(hold.account)
      if (account.total - account.held < hold.amount) return false
      account.held += hold.amount
      holds.set(ref, { ...hold })
      return true
    },
    close(ref, cost) {
      const hold = holds.get(ref)
      if (!hold) throw new Error(`The model has no hold ${ref}.`)
      if (hold.charged !== undefined) return hold.charged
      const account = find(hold.account)
      hold.charged = cost < hold.amount ? cost : hold.amount
      account.held -= hold.amount
      account.total -= hold.charged
      account.charged += hold.charged
      take(byExpiry(account), hold.charged, () => undefined)
      expire(account)
      return hold.charged
    },
    advance(ms) {
      now += ms
      for (const account of accounts.values()) expire(account)
    },
    lapse() {
      for (const [ref, hold] of holds) {
        if (hold.charged === undefined && hold.expiresAt <= now) this.close(ref, hold.lapseCharge)
      }
    },
  }
}
