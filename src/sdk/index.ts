/** The package's public side: `import { createClient, meter } from 'bursar'`. Runs wherever there is `fetch`. */
export type {
  BalanceView,
  Bursar,
  CallModel,
  CallResult,
  CaptureHold,
  ChatMessage,
  CreateHold,
  CreateInvoice,
  Holds,
  HoldView,
  InvoiceView,
  ListUsage,
  Offers,
  PaymentView,
  ReleaseHold,
  TokenUsage,
  UsageEntry,
  UsagePage,
} from '../bursar.ts'
export { BursarError, type ErrorCode, type Problem } from '../errors.ts'
export { type Client, createClient, type Usage } from './client.ts'
export { meter } from './meter.ts'
export type { ClientOptions, RequestOptions } from './request.ts'
export type { Metered, MeterOptions, Payer } from './tab.ts'
