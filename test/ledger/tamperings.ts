/**
 * What somebody with the file could do to it, by the rows that story.ts makes, and all kinds of finding that it must
 * lead to: no fewer, and no others.
 */
import type { FindingKind } from '../../src/ledger/verify/finding.ts'

const refOf = (posting: number): string => `(SELECT ref FROM posting WHERE id = ${posting})`
const invoiceOf = (payment: number): string => `(SELECT invoice FROM payment WHERE txid = '0x0${payment}')`

export const tamperings: readonly [
  what: string,
  kinds: readonly FindingKind[],
  statements: readonly string[],
][] = [
  [
    'a sealed posting deleted',
    ['balance_mismatch', 'hold_missing', 'posting_missing', 'receipt_mismatch'],
    ['DELETE FROM posting WHERE id = 6'],
  ],
  [
    'several sealed postings deleted',
    ['discount_mismatch', 'grant_missing', 'lot_mismatch', 'payment_mismatch', 'posting_missing'],
    ['DELETE FROM posting WHERE id BETWEEN 11 AND 14'],
  ],
  [
    'the first posting deleted',
    ['balance_mismatch', 'grant_missing', 'lot_mismatch', 'posting_missing'],
    ['DELETE FROM posting WHERE id = 1'],
  ],
  [
    'a posting deleted and its balance corrected',
    ['hold_missing', 'lot_mismatch', 'posting_missing', 'receipt_mismatch', 'spend_mismatch'],
    [
      'DELETE FROM posting WHERE id = 4',
      "UPDATE account SET available = available - 2750000, held = held + 4000000 WHERE id = 'acc_story'",
    ],
  ],
  [
    'an unsealed posting deleted',
    ['balance_mismatch', 'idempotency_dangling', 'posting_missing', 'posting_unmatched', 'receipt_mismatch'],
    ['DELETE FROM posting WHERE id = 28'],
  ],
  [
    'the journal cut off behind the last seal',
    [
      'balance_mismatch',
      'hold_mismatch',
      'idempotency_dangling',
      'lot_mismatch',
      'receipt_mismatch',
      'spend_mismatch',
    ],
    ['DELETE FROM posting WHERE id > 26'],
  ],
  [
    'the journal cut off within the sealed part',
    [
      'balance_mismatch',
      'discount_mismatch',
      'grant_missing',
      'hold_mismatch',
      'idempotency_dangling',
      'journal_truncated',
      'lapse_mismatch',
      'lot_mismatch',
      'receipt_mismatch',
      'spend_mismatch',
    ],
    ['DELETE FROM posting WHERE id > 20'],
  ],
  [
    'the whole journal deleted',
    [
      'balance_mismatch',
      'discount_mismatch',
      'grant_missing',
      'hold_mismatch',
      'idempotency_dangling',
      'journal_truncated',
      'lapse_mismatch',
      'lot_mismatch',
      'receipt_mismatch',
      'spend_mismatch',
    ],
    ['DELETE FROM posting'],
  ],
  [
    'a charge lowered, consistently',
    ['lot_mismatch', 'posting_altered'],
    [
      `UPDATE posting SET available = available + 1000000, counter = counter - 1000000 WHERE id = 4`,
      `UPDATE account SET available = available + 1000000 WHERE id = 'acc_story'`,
      `UPDATE spend SET charged = charged - 1000000 WHERE account='acc_story' AND hour = (SELECT min(hour) FROM spend)`,
      `UPDATE receipt SET charged = charged - 1000000 WHERE id = ${refOf(4)}`,
    ],
  ],
  [
    'a charge above its hold',
    [
      'balance_mismatch',
      'charge_mismatch',
      'lot_mismatch',
      'posting_altered',
      'posting_malformed',
      'receipt_mismatch',
      'spend_mismatch',
    ],
    ['UPDATE posting SET available = available - 8000000, counter = counter + 8000000 WHERE id = 4'],
  ],
  [
    'a posting that does not sum to zero',
    ['constraint_broken', 'posting_altered', 'posting_malformed', 'receipt_mismatch', 'spend_mismatch'],
    ['UPDATE posting SET counter = counter + 1 WHERE id = 26'],
  ],
  [
    'a kind changed',
    ['constraint_broken', 'posting_malformed', 'receipt_mismatch', 'spend_mismatch'],
    ["UPDATE posting SET kind = 'release' WHERE id = 29"],
  ],
  [
    'a time changed',
    ['posting_altered', 'receipt_mismatch'],
    ['UPDATE posting SET at = at + 1 WHERE id = 6'],
  ],
  [
    'an account changed',
    ['balance_mismatch', 'hold_mismatch', 'idempotency_dangling', 'overdrawn', 'receipt_mismatch'],
    ["UPDATE posting SET account = 'acc_other' WHERE id = 27"],
  ],
  [
    'two postings that changed places',
    ['posting_reordered', 'posting_unmatched'],
    [
      'UPDATE posting SET id = -1 WHERE id = 5',
      'UPDATE posting SET id = 5 WHERE id = 7',
      'UPDATE posting SET id = 7 WHERE id = -1',
    ],
  ],
  [
    'a hold and its outcome that changed places',
    ['posting_unmatched'],
    [
      'UPDATE posting SET id = -1 WHERE id = 28',
      'UPDATE posting SET id = 28 WHERE id = 29',
      'UPDATE posting SET id = 29 WHERE id = -1',
    ],
  ],
  [
    'a posting inserted',
    ['grant_without_payment'],
    [
      "INSERT INTO posting (ref, phase, kind, account, available, held, book, counter, at) VALUES ('pay:free:1', 0, 'grant', 'acc_other', 5, 0, 'payments', -5, 0)",
      "INSERT INTO lot VALUES ('pay:free:1', 'acc_other', 5, 5, 0, NULL, 253402300799999, 0)",
      "UPDATE account SET available = available + 5 WHERE id = 'acc_other'",
    ],
  ],
  [
    'text that only begins as it was',
    ['lapse_mismatch', 'posting_altered', 'posting_unmatched'],
    ["UPDATE posting SET ref = ref || char(0) || 'x' WHERE id = 21"],
  ],
  [
    'text that is not UTF-8',
    ['posting_altered', 'posting_unmatched', 'receipt_mismatch', 'reference_missing'],
    ["UPDATE posting SET agent = CAST(x'ff61' AS TEXT) WHERE id = 3"],
  ],
  ['a seal deleted', ['seal_missing'], ['DELETE FROM seal WHERE number = 2']],
  ['the first seal deleted', ['seal_missing'], ['DELETE FROM seal WHERE number = 1']],
  ['the last seals cut off', ['seal_missing'], ['DELETE FROM seal WHERE number > 2']],
  ['all seals deleted', ['seal_missing'], ['DELETE FROM seal']],
  ['the digest of a seal altered', ['seal_altered'], ['UPDATE seal SET digest = hash WHERE number = 2']],
  ['the hash of a seal altered', ['seal_altered'], ['UPDATE seal SET hash = digest WHERE number = 2']],
  ['the hash of the last seal altered', ['seal_altered'], ['UPDATE seal SET hash = digest WHERE number = 4']],
  ['the time of a seal altered', ['seal_altered'], ['UPDATE seal SET at = at + 1 WHERE number = 3']],
  [
    'two seals that changed places',
    ['seal_altered', 'seal_chain_broken'],
    [
      'UPDATE seal SET number = -1 WHERE number = 2',
      'UPDATE seal SET number = 2 WHERE number = 3',
      'UPDATE seal SET number = 3 WHERE number = -1',
    ],
  ],
  [
    'the last seal shortened',
    ['seal_altered'],
    ['UPDATE seal SET last_posting = last_posting - 1 WHERE number = 4'],
  ],
  [
    'a balance raised',
    ['balance_mismatch'],
    ["UPDATE account SET available = available + 1 WHERE id = 'acc_other'"],
  ],
  [
    'what is held raised',
    ['balance_mismatch'],
    ["UPDATE account SET held = held + 1 WHERE id = 'acc_other'"],
  ],
  [
    'an account deleted',
    ['balance_mismatch', 'reference_missing'],
    ["DELETE FROM account WHERE id = 'acc_other'"],
  ],
  [
    'the next expiry put off',
    ['lapse_mismatch'],
    ["UPDATE account SET next_expiry = next_expiry + 1 WHERE id = 'acc_story'"],
  ],
  ['an agent deleted', ['reference_missing'], ['DELETE FROM agent']],
  ['an open hold deleted', ['hold_missing'], ['DELETE FROM hold']],
  ['an open hold altered', ['hold_mismatch'], ['UPDATE hold SET amount = amount - 1']],
  [
    'a released hold brought back',
    ['hold_mismatch'],
    [`INSERT INTO hold SELECT ref, account, agent, held, 0, at, at + 1 FROM posting WHERE id = 5`],
  ],
  ['a lot deleted', ['lot_mismatch', 'lot_missing'], [`DELETE FROM lot WHERE ref = ${refOf(23)}`]],
  ['a lot deleted of which nothing was left', ['lot_missing'], [`DELETE FROM lot WHERE ref = ${refOf(9)}`]],
  [
    'a lot filled up',
    ['lot_mismatch'],
    [`UPDATE lot SET remaining = remaining + 1 WHERE ref = ${refOf(24)}`],
  ],
  [
    'credits moved between two lots',
    ['lot_mismatch'],
    [
      `UPDATE lot SET remaining = remaining - 1 WHERE ref = ${refOf(23)}`,
      `UPDATE lot SET remaining = remaining + 1 WHERE ref = ${refOf(24)}`,
    ],
  ],
  [
    'the size of a lot altered',
    ['lot_mismatch'],
    [`UPDATE lot SET granted = granted + 1 WHERE ref = ${refOf(23)}`],
  ],
  [
    'what lapsed of a lot altered',
    ['lapse_mismatch'],
    [
      `UPDATE lot SET expired = expired - 1 WHERE ref = (SELECT substr(ref, 8, length(ref) - 9) FROM posting WHERE id = 21)`,
    ],
  ],
  [
    'a lot made to last forever',
    ['lot_mismatch'],
    [`UPDATE lot SET expires_at = 253402300799999 WHERE ref = ${refOf(23)}`],
  ],
  [
    'an hour of spend deleted',
    ['spend_mismatch'],
    ['DELETE FROM spend WHERE hour = (SELECT min(hour) FROM spend)'],
  ],
  [
    'an hour of spend altered',
    ['spend_mismatch'],
    ['UPDATE spend SET charged = charged + 1 WHERE hour = (SELECT min(hour) FROM spend)'],
  ],
  ['an hour of spend invented', ['spend_mismatch'], ["INSERT INTO spend VALUES ('acc_other', 0, 1)"]],
  [
    'an invoice deleted',
    ['discount_mismatch', 'payment_mismatch', 'reference_missing'],
    [`DELETE FROM invoice WHERE id = ${invoiceOf(4)}`],
  ],
  [
    'the amount of an invoice altered',
    ['invoice_altered'],
    [`UPDATE invoice SET amount = amount || '0' WHERE id = ${invoiceOf(3)}`],
  ],
  [
    'the address of an invoice altered',
    ['address_reused', 'invoice_altered'],
    [
      `UPDATE invoice SET address = (SELECT max(address) FROM address WHERE address <> invoice.address) WHERE id = ${invoiceOf(3)}`,
    ],
  ],
  [
    'the signature of an invoice altered',
    ['invoice_altered'],
    [
      // What a signature begins with is chance, and one in 64 begins with either of these.
      `UPDATE invoice SET signature = CASE substr(signature, 1, 1) WHEN 'A' THEN 'B' ELSE 'A' END || substr(signature, 2) WHERE id = ${invoiceOf(3)}`,
    ],
  ],
  [
    'the credits of an invoice altered',
    ['invoice_altered'],
    [`UPDATE invoice SET credits = credits + 1 WHERE id = ${invoiceOf(3)}`],
  ],
  [
    'the discount of an invoice altered',
    ['discount_mismatch'],
    [`UPDATE invoice SET discount = discount + 1, credits = credits + 1 WHERE id = ${invoiceOf(4)}`],
  ],
  [
    'the price of an invoice altered',
    ['invoice_altered'],
    [`UPDATE invoice SET usd = usd * 2 WHERE id = ${invoiceOf(3)}`],
  ],
  [
    'the rate of an invoice altered',
    ['invoice_altered'],
    [`UPDATE invoice SET price_e8 = price_e8 || '0' WHERE id = ${invoiceOf(3)}`],
  ],
  [
    'the lifetime of its lots altered',
    ['lot_mismatch'],
    [`UPDATE invoice SET lot_lifetime = lot_lifetime + 1 WHERE id = ${invoiceOf(4)}`],
  ],
  [
    'the epoch of a discount altered',
    ['discount_mismatch'],
    [`UPDATE invoice SET discount_epoch = discount_epoch + 1 WHERE id = ${invoiceOf(2)}`],
  ],
  [
    'a credited payment deleted',
    ['discount_mismatch', 'grant_without_payment'],
    ["DELETE FROM payment WHERE txid = '0x04'"],
  ],
  ['a reversed payment deleted', ['grant_without_payment'], ["DELETE FROM payment WHERE txid = '0x03'"]],
  [
    'a credited payment called reversed',
    ['discount_mismatch', 'payment_mismatch'],
    ["UPDATE payment SET state = 'reversed' WHERE txid = '0x04'"],
  ],
  [
    'a reversed payment called credited',
    ['payment_mismatch', 'payment_value'],
    ["UPDATE payment SET state = 'credited' WHERE txid = '0x03'"],
  ],
  [
    'the epoch of a payment altered',
    ['grant_missing', 'payment_mismatch'],
    ["UPDATE payment SET epoch = epoch + 1 WHERE txid = '0x02'"],
  ],
  [
    'the credits of a payment altered',
    ['payment_mismatch', 'payment_value'],
    ["UPDATE payment SET credits = credits + 1 WHERE txid = '0x04'"],
  ],
  [
    'the amount of a payment altered',
    ['payment_value'],
    ["UPDATE payment SET amount = amount || '0' WHERE txid = '0x04'"],
  ],
  [
    'the valuation of a payment damaged',
    ['discount_mismatch', 'payment_value'],
    ["UPDATE payment SET pricing = '{' WHERE txid = '0x04'"],
  ],
  [
    'a payment valued outside its lock',
    ['discount_mismatch'],
    ["UPDATE payment SET pricing = json_set(pricing, '$.locked', '0', '$.rest', amount) WHERE txid = '0x04'"],
  ],
  [
    'a payment moved to another invoice',
    ['discount_mismatch', 'payment_mismatch'],
    ["UPDATE payment SET invoice = (SELECT invoice FROM payment WHERE txid = '0x03') WHERE txid = '0x04'"],
  ],
  ['an address deleted', ['reference_missing'], ['DELETE FROM address WHERE derivation_index = 0']],
  ['the next index set back', ['address_unissued'], ['UPDATE deriving_key SET next_index = 0']],
  ['a deriving key deleted', ['reference_missing'], ['DELETE FROM deriving_key']],
  [
    'the charge on a receipt altered',
    ['receipt_mismatch'],
    [`UPDATE receipt SET charged = 0 WHERE id = ${refOf(4)}`],
  ],
  [
    'the state of a receipt altered',
    ['receipt_mismatch'],
    [`UPDATE receipt SET state = 'pending' WHERE id = ${refOf(6)}`],
  ],
  [
    'a receipt moved to no hold',
    ['receipt_mismatch'],
    [`UPDATE receipt SET id = 'hold_x' WHERE id = ${refOf(6)}`],
  ],
  [
    'an idempotency key pointed at no hold',
    ['idempotency_dangling'],
    ["UPDATE idempotency SET ref = 'hold_x' WHERE key = 'one'"],
  ],
  [
    'an idempotency key pointed at no invoice',
    ['idempotency_dangling'],
    ["UPDATE idempotency SET ref = 'inv_x' WHERE key = 'first'"],
  ],
  [
    'amounts whose sum does not fit 64 bits',
    [
      'charge_mismatch',
      'constraint_broken',
      'posting_altered',
      'posting_malformed',
      'receipt_mismatch',
      'unreadable',
    ],
    ["UPDATE posting SET counter = 9223372036854775807 WHERE kind = 'capture'"],
  ],
]
