/**
 * The purse's own schema. A payment is one row, from its reservation to its end; src/purse/payment.ts has the table
 * of its states.
 */
export const first = /* sql */ `
CREATE TABLE payment (
  id TEXT PRIMARY KEY,
  -- What is paid, from the verified invoice; it never changes.
  payee TEXT NOT NULL,
  payee_name TEXT NOT NULL,
  invoice TEXT NOT NULL,
  payload TEXT NOT NULL,
  signature TEXT NOT NULL,
  rail TEXT NOT NULL,
  network TEXT NOT NULL,
  symbol TEXT NOT NULL,
  decimals INTEGER NOT NULL,
  contract TEXT,
  recipient TEXT NOT NULL,
  -- Atomic units, an integer as text: 10 ETH in wei does not fit 64 bits.
  amount TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  -- What it takes of the budget of its day and month, micro-USD: the reservation, later the true cost.
  usd INTEGER NOT NULL CHECK (usd >= 0),
  amount_usd INTEGER NOT NULL CHECK (amount_usd > 0),
  fee_usd INTEGER NOT NULL CHECK (fee_usd >= 0),
  native_price_e8 TEXT NOT NULL,
  native_decimals INTEGER NOT NULL,
  -- JSON: the quotes that priced it
  quotes TEXT NOT NULL,
  day TEXT NOT NULL,
  month TEXT NOT NULL,
  -- The transaction, as it will be signed; wei as text.
  wallet TEXT NOT NULL,
  gas INTEGER NOT NULL,
  max_fee_per_gas TEXT NOT NULL,
  max_priority_fee_per_gas TEXT NOT NULL,
  -- The highest network fee in wei, the part for a parent chain included.
  max_fee TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('reserved', 'signed', 'unknown', 'broadcast', 'confirmed', 'failed')),
  nonce INTEGER,
  raw TEXT,
  txid TEXT,
  -- Why it waits or failed, one of our own words: see payment.ts.
  reason TEXT,
  -- The block that holds it, while it is there.
  block INTEGER,
  -- The tip when another transaction was first seen in its place.
  displaced_at INTEGER,
  -- What the network charged, wei.
  fee TEXT,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  UNIQUE (payee, invoice),
  -- Only a mined transaction tells a cost of its own (a parent chain's part of a fee has no ceiling).
  CHECK (usd <= amount_usd + fee_usd OR fee IS NOT NULL),
  CHECK ((nonce IS NULL) = (raw IS NULL) AND (raw IS NULL) = (txid IS NULL)),
  CHECK (state NOT IN ('signed', 'unknown', 'broadcast', 'confirmed') OR raw IS NOT NULL),
  CHECK (state <> 'reserved' OR raw IS NULL)
) STRICT, WITHOUT ROWID;
-- Two transactions with one nonce exclude each other on the chain, and so here.
CREATE UNIQUE INDEX payment_nonce ON payment (network, wallet, nonce) WHERE state IN ('signed', 'unknown', 'broadcast');
CREATE INDEX payment_by_day ON payment (day, usd);
CREATE INDEX payment_by_month ON payment (month, usd);
CREATE INDEX payment_open ON payment (network, id) WHERE state IN ('reserved', 'signed', 'unknown', 'broadcast');

CREATE TABLE idempotency (
  key TEXT PRIMARY KEY,
  payment TEXT NOT NULL REFERENCES payment(id)
) STRICT, WITHOUT ROWID;

CREATE TABLE operation (
  id TEXT PRIMARY KEY,
  at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A row inserted here rolls its whole batch back: guards are INSERT INTO guard SELECT 1 WHERE NOT (condition).
CREATE TABLE guard (failed INTEGER NOT NULL) STRICT;
CREATE TRIGGER guard_raises BEFORE INSERT ON guard BEGIN SELECT RAISE(ABORT, 'guard'); END;

CREATE TRIGGER payment_is_kept BEFORE DELETE ON payment
BEGIN
  SELECT RAISE(ABORT, 'payments are kept');
END;

CREATE TRIGGER payment_promise_is_fixed
BEFORE UPDATE OF payee, invoice, payload, signature, network, contract, recipient, amount, amount_usd, fee_usd,
  day, month, wallet, gas, max_fee_per_gas, max_priority_fee_per_gas, max_fee ON payment
BEGIN
  SELECT RAISE(ABORT, 'what a payment promises never changes');
END;

CREATE TRIGGER payment_moves_forward BEFORE UPDATE OF state ON payment
WHEN NEW.state <> OLD.state AND NOT CASE OLD.state
  WHEN 'reserved' THEN NEW.state IN ('signed', 'failed')
  WHEN 'signed' THEN NEW.state IN ('unknown', 'failed')
  WHEN 'unknown' THEN NEW.state IN ('broadcast', 'confirmed', 'failed')
  WHEN 'broadcast' THEN NEW.state IN ('confirmed', 'failed')
  ELSE 0 END
BEGIN
  SELECT RAISE(ABORT, 'no such step');
END;

-- Once it may have left the purse, a transaction's bytes are kept and only these are ever sent.
CREATE TRIGGER payment_transaction_is_fixed BEFORE UPDATE OF nonce, raw, txid ON payment
WHEN OLD.raw IS NOT NULL AND NEW.raw IS NOT OLD.raw AND NOT (OLD.state = 'signed' AND NEW.state = 'failed')
BEGIN
  SELECT RAISE(ABORT, 'a signed transaction is kept');
END;
`
