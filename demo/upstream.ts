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

const MODEL = 'demo-model'

/** Of the question that the demo asks. */
const ANSWER =
  'Because a prepaid balance is a budget that nobody can overdraw: the seller is paid before the work, and the buyer never owes more than what was funded.'

const ANY_ANSWER =
  'This is an emulator, which gives this answer to every question; what it is charged is real. DEMO_UPSTREAM_URL names a real model.'

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
  // A name here is also a name in its list of models, which the doctor reads.
  mock.addFixture({
    match: { model: MODEL, userMessage: 'why do agents prepay' },
    response: { content: ANSWER, usage: { prompt_tokens: 18, completion_tokens: 31, total_tokens: 49 } },
  })
  // With --keep, people and their agents ask what they like.
  mock.addFixture({
    match: { model: MODEL },
    response: {
      content: ANY_ANSWER,
      usage: { prompt_tokens: 18, completion_tokens: 24, total_tokens: 42 },
    },
  })
  await mock.start()
  return {
    description: 'an emulator (@copilotkit/aimock) with a scripted answer; no model is asked',
    baseUrl: `${mock.url}/v1`,
    apiKey: 'emulator',
    model: MODEL,
    stop: () => mock.stop(),
  }
}
