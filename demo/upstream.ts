/** What answers the demo's model call: an emulator from npm, or a real endpoint when the environment names one. */
import { LLMock } from '@copilotkit/aimock'

export interface Upstream {
  /** Said plainly in the output: nobody should take an emulator's answer for a model's. */
  readonly description: string
  readonly baseUrl: string
  readonly apiKey: string
  readonly model: string
  stop(): Promise<void>
}

const ANSWER =
  'Because a prepaid balance is a budget that nobody can overdraw: the seller is paid before the work, and the buyer never owes more than what was funded.'

/** DEMO_UPSTREAM_URL, DEMO_UPSTREAM_KEY and DEMO_UPSTREAM_MODEL name a real, OpenAI-compatible endpoint. */
export async function startUpstream(env: NodeJS.ProcessEnv): Promise<Upstream> {
  const url = env.DEMO_UPSTREAM_URL
  const model = env.DEMO_UPSTREAM_MODEL
  if (url && model) {
    return {
      description: `${model} at ${new URL(url).host}, a real endpoint named by DEMO_UPSTREAM_URL`,
      baseUrl: url,
      apiKey: env.DEMO_UPSTREAM_KEY ?? 'none',
      model,
      stop: async () => {},
    }
  }
  const mock = new LLMock({ port: 0, host: '127.0.0.1', logLevel: 'silent' })
  mock.addFixture({
    match: { userMessage: 'why do agents prepay' },
    response: { content: ANSWER, usage: { prompt_tokens: 18, completion_tokens: 31, total_tokens: 49 } },
  })
  await mock.start()
  return {
    description: 'an emulator (@copilotkit/aimock) with a scripted answer; no model is asked',
    baseUrl: `${mock.url}/v1`,
    apiKey: 'emulator',
    model: 'demo-model',
    stop: () => mock.stop(),
  }
}
