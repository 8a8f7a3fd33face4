/** The package's public side: `import { createClient, meter } from 'bursar'`. Runs wherever there is `fetch`. */
export type {
  AccountPage,
  AccountView,
  AgentPage,
  AgentView,
  Allowance,
  AllowanceView,
  ChangeAccount,
  ChangeAgent,
  CreateAccount,
  CreateAgent,
  KeyHolder,
  KeyPage,
  KeyPrint,
  KeyView,
  ListAccounts,
  ListAgents,
  ListKeys,
  OpenedAccount,
} from '../accounts.ts'
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
  PaymentClaim,
  PaymentView,
  ReleaseHold,
  TokenUsage,
  UsageEntry,
  UsagePage,
} from '../bursar.ts'
export { BursarError, type ErrorCode, type Problem } from '../errors.ts'
export type { Accounts, Agents, CreatedKey, Keys } from './accounts.ts'
export { type Client, createClient, type Usage } from './client.ts'
export { meter } from './meter.ts'
export type { Paged } from './pages.ts'
export type { ClientOptions, RequestOptions } from './request.ts'
export type { Metered, MeterOptions, Payer } from './tab.ts'
